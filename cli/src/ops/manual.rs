//! `spark help` and `spark completions`: what the command line says about itself.

use std::io::IsTerminal as _;

use clap_complete::Shell;

use crate::args::manual;
use crate::args::setup::{CompletionsArgs, HelpArgs, ShellName};
use crate::exit::Failure;
use crate::output;

/// Prints the manual, the help of a command, or a topic.
///
/// # Errors
/// Exit 64: neither a command nor a topic.
pub fn help(arguments: &HelpArgs) -> Result<(), Failure> {
    let page = manual::page(&arguments.words).map_err(Failure::usage)?;
    let text = if output::coloured(std::io::stdout().is_terminal()) { page.ansi().to_string() } else { page.to_string() };
    output::line(text.trim_end())
}

/// Prints a script that completes commands, options and their values.
///
/// # Errors
/// stdout cannot be written.
pub fn completions(arguments: &CompletionsArgs) -> Result<(), Failure> {
    let shell = match arguments.shell {
        ShellName::Bash => Shell::Bash,
        ShellName::Zsh => Shell::Zsh,
        ShellName::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut manual::command(), "spark", &mut script);
    output::line(String::from_utf8_lossy(&script).trim_end())
}
