//! The manual page and the completions of shells, made of the command line's definition
//! when a package is built.

use std::io::{self, stdout};

use clap::{CommandFactory, ValueEnum};
use clap_complete::Shell;

use crate::arguments::Arguments;

const NAME: &str = "tail-containers";

/// What `--generate` writes to the standard output.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Generate {
    /// The manual page
    Man,
    /// The manual page of `check`
    ManCheck,
    /// Completions for bash
    Bash,
    /// Completions for fish
    Fish,
    /// Completions for zsh
    Zsh,
}

/// Writes it.
pub fn write(what: Generate) -> io::Result<()> {
    let mut command = Arguments::command();
    command.build();
    let shell = match what {
        Generate::Man => return clap_mangen::Man::new(command).render(&mut stdout().lock()),
        Generate::ManCheck => {
            let check = command.find_subcommand("check").cloned();
            let check = check.ok_or_else(|| io::Error::other("there is no command check"))?;
            let name = format!("{NAME}-check");
            return clap_mangen::Man::new(check.display_name(name)).render(&mut stdout().lock());
        }
        Generate::Bash => Shell::Bash,
        Generate::Fish => Shell::Fish,
        Generate::Zsh => Shell::Zsh,
    };
    // Whole first: the generators panic if the reader of a pipe is gone.
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command, NAME, &mut text);
    io::Write::write_all(&mut stdout().lock(), &text)
}
