//! The boundary to Fluent Bit: the only module that knows C, and the only one that may use
//! `unsafe`.
//!
//! # What crosses
//!
//! | pointer | made by | freed by | used on |
//! |---|---|---|---|
//! | descriptor, option map and their strings | us, when the library is loaded | never: the host keeps pointers into them | any thread, read only |
//! | `ins`, `config` | the host | the host, after `cb_exit` | the host's thread; passed back to the host's functions, except that `properties` reads the option list of `ins`, and `registration` its memory through `/proc/self/mem` |
//! | `context` | us, in `cb_init` | us, in `cb_exit` | a key to look an instance up by; never dereferenced |
//! | the collector's descriptor | us, in `cb_init` | us, in `cb_exit`; the host, if it cannot watch it | the host polls it |
//! | property values, names | the host | the host | copied at once |
//! | a parser's result | the host, at our call | us, once it is copied | the host's thread |
//! | metrics | the host, at our call in `cb_init` | the host, after `cb_exit` | set on the host's thread; read by any of the host's threads |
//! | record bytes, tags, log text | us | us, after the call | the host copies before it returns |
//!
//! # Rules
//!
//! - Every `extern "C"` body is one `guard` call: a panic becomes a logged error and a stopped
//!   instance.
//! - A callback looks its instance up among the live ones. A release that adds a field to the
//!   descriptor shifts the slots after it. A callback that is then called in place of another,
//!   with other arguments, finds no instance or does something harmless to one.
//! - Loading the library starts nothing; threads start in `cb_init` and end in `cb_exit`.
#![allow(unsafe_code)]

mod allocator;
mod callbacks;
mod cmetrics;
mod collector_fd;
mod descriptor;
mod flb_host;
mod guard;
mod host_api;
mod instances;
mod option_map;
mod parsers;
mod properties;
mod registration;
pub mod signals;
mod storage;
mod sys;
