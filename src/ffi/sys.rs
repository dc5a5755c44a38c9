//! Types generated from `include/fluent_bit_abi.h`, and assertions on their layout.
#![allow(
    missing_docs,
    non_camel_case_types,
    non_upper_case_globals,
    dead_code,
    clippy::all
)]

include!(concat!(env!("OUT_DIR"), "/fluent_bit_abi.rs"));

// Offsets read from every release from 2.1 to 5.1.
const _: () = {
    assert!(std::mem::offset_of!(clogs_plugin_head, name) == 24);
    assert!(std::mem::offset_of!(clogs_plugin_head, config_map) == 40);
    assert!(std::mem::offset_of!(clogs_plugin_head, cb_init) == 48);
    assert!(std::mem::offset_of!(clogs_plugin_head, cb_collect) == 64);
    assert!(std::mem::size_of::<clogs_plugin_head>() == 72);
    assert!(std::mem::offset_of!(clogs_config_map_head, name) == 8);
    assert!(std::mem::offset_of!(clogs_config_map_head, set_property) == 28);
    assert!(std::mem::offset_of!(clogs_config_map_head, desc) == 40);
};
