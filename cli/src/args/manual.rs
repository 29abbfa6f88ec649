//! What `spark --help` and `spark help` tell beyond each command's own text: the commands in groups, first steps,
//! environment, exit codes. Names and one-line texts come from the commands themselves, so that they cannot differ.

use std::fmt::Write as _;

use clap::builder::StyledStr;
use clap::builder::styling::{AnsiColor, Style, Styles};
use clap::{Command, CommandFactory};

use super::Cli;

/// Commands under their headings, in the order in which a person meets them. A test holds it and [`super::Command`] together.
pub const GROUPS: &[(&str, &[&str])] = &[
    ("Run", &["up", "demo", "restart", "sim"]),
    ("Look", &["status", "top", "doctor", "tail", "parked", "orders", "positions", "explain", "audit"]),
    ("Trade", &["order", "limits", "whatif"]),
    ("Guard", &["kill", "resume", "breaker", "rules", "silence", "notify", "tune"]),
    ("Day", &["smoke", "report", "health", "evidence", "runbook"]),
    ("Models and strategies", &["strategy", "backtest", "rollout"]),
    ("Set up", &["config", "token", "setup", "topology", "schema", "completions", "help"]),
    (
        PROCESSES,
        &[
            "feed",
            "portfolio",
            "candles",
            "signal",
            "risk",
            "executor",
            "guardrail",
            "notifier",
            "auditor",
            "reporter",
            "gateway",
            "exchange-sim",
        ],
    ),
];

/// The last group: what `spark up` starts.
const PROCESSES: &str = "Processes, as `spark up` starts them; each can run alone";
/// What the texts of that group begin with, each of them.
const PROCESS: &str = "Runs one process: ";

const FIRST_STEPS: &str = "  spark up                          # everything, on simulated exchanges; prints the page's address
  spark status                      # in another terminal: what runs, what fires
  spark top                         # the same, live
  spark order buy BTCUSDT 0.01      # on paper
  spark kill on --reason \"a drill\"  # nothing new is sent
  spark doctor                      # when something is not as it should be
";

const EXIT_CODES: &str = "  0   done
  1   done, and the answer is no: a check failed, an order was refused, nothing was found
  2   the file to check cannot be opened (audit verify, evidence verify)
  64  the command line, the configuration or the input is wrong; the message says what would be right
  69  the broker, the gateway or the running system cannot be reached
  70  a fault inside Spark
  75  something outside is in the way (a port, a full disk, a rate limit): try again later
  85  a process stopped in order because it was asked to restart; whoever supervises it starts it again
";

const ENVIRONMENT: &str = "  SPARK_CONFIG, SPARK_DATA       as --config and --data
  SPARK_<SECTION>__<KEY>         any key of spark.toml, e.g. SPARK_GATEWAY__RATE_BURST=50
  SPARK_TOKEN                    token for the gateway; without it <data>/keys/admin.token
  SPARK_GATEWAY_URL              the gateway, when it is not the one that runs on the data folder
  SPARK_CA_FILE                  the gateway's certificate, or its authority's, when nobody else knows it
  NATS_URL, NATS_CONTEXT         as --url and --context
  NATS_CREDS                     a .creds file for the broker
  SPARK_NKEY_SEED_FILE           a file with an nkey seed for the broker
  SPARK_LOG, SPARK_LOG_FORMAT    what processes log (info,spark_feed=debug), and how (text or json)
  SPARK_METRICS_ADDR             where one process serves its own /metrics
  SPARK_NATS_SERVER              the nats-server binary that `spark up` runs
  NO_COLOR                       no colours, as --no-color
";

const CONNECTION: &str = "  Which broker, the first that is there:
    1. --url or NATS_URL
    2. --context or NATS_CONTEXT: a context of the NATS command line (`nats context ls`)
    3. what `spark up` runs on the data folder (--data)
    4. [nats] url in spark.toml
    5. the context that `nats context select` chose
    6. nats://127.0.0.1:4222
  As whom, the first that is there:
    1. SPARK_NKEY_SEED_FILE
    2. NATS_CREDS
    3. --context or NATS_CONTEXT
    4. [nats] seed_file or creds_file in spark.toml
    5. the user's key in <data>/keys, which `spark up` and `spark setup` write
    6. the context that `nats context select` chose, when the broker is the one it names
  Of a context Spark uses url, creds, nkey, user and password, token, cert, key and ca. One that needs anything else to
  connect (a JWT by itself, a socks proxy, the Windows certificate store) is refused with a message.
  Contexts are files: $XDG_CONFIG_HOME/nats/context/<name>.json, ~/.config without that variable.
";

/// What `spark help TOPIC` knows besides commands: name, one line, text.
pub const TOPICS: &[(&str, &str, &str)] = &[
    ("exit-codes", "What the exit code tells a script", EXIT_CODES),
    ("environment", "Variables that Spark reads", ENVIRONMENT),
    ("connection", "Which broker, and as whom", CONNECTION),
    ("first-steps", "The first quarter of an hour", FIRST_STEPS),
];

/// How help is set: as everything else that Spark prints, and readable without colours.
const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Cyan.on_default().bold())
    .usage(AnsiColor::Cyan.on_default().bold())
    .literal(Style::new().bold())
    .placeholder(Style::new());

/// Where the texts of commands begin, counted from the left.
const COLUMN: usize = 16;

/// The whole command line, with its manual.
#[must_use]
pub fn command() -> Command {
    let plain = Cli::command().styles(STYLES);
    let template = template(&plain);
    plain.help_template(template)
}

fn template(command: &Command) -> StyledStr {
    let mut text = String::from("{before-help}{name} {version}: {about}\n\n{usage-heading} {usage}\n\n");
    section(&mut text, "First steps", FIRST_STEPS);
    for (heading, names) in GROUPS {
        section(&mut text, heading, &group(command, names));
    }
    section(&mut text, "Options of every command", "{options}\n");
    section(&mut text, "Environment", ENVIRONMENT);
    section(&mut text, "Exit codes", EXIT_CODES);
    let topics: Vec<&str> = TOPICS.iter().map(|(name, ..)| *name).collect();
    let _ = write!(
        text,
        "`spark COMMAND --help` says more, with examples. Topics of `spark help`: {}.{{after-help}}",
        topics.join(", ")
    );
    text.into()
}

fn section(text: &mut String, heading: &str, body: &str) {
    let header = STYLES.get_header();
    let _ = writeln!(text, "{header}{heading}:{header:#}\n{body}");
}

fn group(command: &Command, names: &[&str]) -> String {
    let mut text = String::new();
    for name in names {
        let about = command.find_subcommand(name).and_then(Command::get_about).map(ToString::to_string).unwrap_or_default();
        let literal = STYLES.get_literal();
        let pad = " ".repeat((COLUMN - 2).saturating_sub(name.len()));
        let _ = writeln!(text, "  {literal}{name}{literal:#}{pad}{}", about.strip_prefix(PROCESS).unwrap_or(&about));
    }
    text
}

/// What `spark help` prints for some words: a topic, a command, or without any the whole manual.
///
/// # Errors
/// Which word is known neither as a topic nor as a command, and what is.
pub fn page(words: &[String]) -> Result<StyledStr, String> {
    let mut command = command();
    command.build();
    if let [topic] = words
        && let Some((name, about, text)) = TOPICS.iter().find(|(name, ..)| name == topic)
        && command.find_subcommand(name).is_none()
    {
        let mut page = String::new();
        section(&mut page, about, text);
        return Ok(page.trim_end().to_owned().into());
    }
    let mut found = &mut command;
    for (depth, word) in words.iter().enumerate() {
        let known: Vec<String> =
            found.get_subcommands().filter(|one| !one.is_hide_set()).map(|one| one.get_name().to_owned()).collect();
        let topics = TOPICS.iter().map(|(name, ..)| *name).filter(|_| depth == 0);
        let known: Vec<&str> = known.iter().map(String::as_str).chain(topics).collect();
        found = found.find_subcommand_mut(word).ok_or_else(|| {
            format!(
                "help {}: {}",
                words.join(" "),
                crate::config::unknown(if depth == 0 { "command or topic" } else { "command" }, word, &known)
            )
        })?;
    }
    // The manual itself is long enough with a line for each option.
    Ok(if words.is_empty() { found.render_help() } else { found.render_long_help() })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Wider than a terminal of 80 columns shows.
    const WIDTH_MAX: usize = 80;

    fn walk(command: &Command, path: &str, each: &mut impl FnMut(&Command, &str)) {
        for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help" && !inner.is_hide_set()) {
            let path = format!("{path} {}", inner.get_name());
            each(inner, &path);
            walk(inner, &path, each);
        }
    }

    #[test]
    fn every_command_has_one_line_of_help_and_an_example_that_can_be_parsed() {
        let mut wrong = Vec::new();
        let mut examples = 0;
        walk(&command(), "spark", &mut |command, path| {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            if command.get_about().is_none() {
                wrong.push(format!("{path}: no text"));
            }
            let lines: Vec<&str> =
                help.lines().filter_map(|line| line.trim().strip_prefix("Example: ").or(Some(line.trim()))).collect();
            let own: Vec<&str> =
                lines.into_iter().filter(|line| *line == path || line.starts_with(&format!("{path} "))).collect();
            if own.is_empty() || !help.contains("Example") {
                wrong.push(format!("{path}: no example of its own"));
            }
            for line in own {
                examples += 1;
                if let Err(error) = parsed(line) {
                    wrong.push(format!("{line}: {error}"));
                }
            }
        });
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        assert!(examples > 100, "only {examples} examples");
    }

    /// As a shell would, up to the first operator or comment.
    fn parsed(line: &str) -> Result<(), String> {
        let mut words = vec![String::new()];
        let (mut quote, mut previous) = (None, ' ');
        for c in line.chars() {
            match (quote, c) {
                (None, '#') if previous == ' ' => break,
                (None, '|' | '>' | '&') if previous == ' ' => break,
                (None, ' ') => words.push(String::new()),
                (None, '"' | '\'') => quote = Some(c),
                (Some(open), c) if open == c => quote = None,
                (_, c) => words.last_mut().unwrap().push(c),
            }
            previous = c;
        }
        let words: Vec<String> =
            words.into_iter().enumerate().filter(|(at, word)| *at == 0 || !word.is_empty()).map(|(_, word)| word).collect();
        command().try_get_matches_from(words).map(|_| ()).map_err(|error| error.to_string())
    }

    #[test]
    fn every_command_is_in_one_group_and_every_line_fits_a_terminal() {
        let command = command();
        let known: BTreeSet<&str> = command.get_subcommands().filter(|one| !one.is_hide_set()).map(Command::get_name).collect();
        let grouped: Vec<&str> = GROUPS.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        assert_eq!(grouped.iter().copied().collect::<BTreeSet<_>>(), known);
        assert_eq!(grouped.len(), known.len(), "one of them is in two groups");
        for (_, names) in GROUPS {
            let plain = strip(&group(&command, names));
            let wide: Vec<&str> = plain.lines().filter(|line| line.chars().count() > WIDTH_MAX).collect();
            assert!(wide.is_empty(), "{wide:#?}");
        }
    }

    fn strip(text: &str) -> String {
        StyledStr::from(text.to_owned()).to_string()
    }

    #[test]
    fn help_knows_topics_commands_and_what_was_meant() {
        let told = |words: &[&str]| page(&words.iter().map(ToString::to_string).collect::<Vec<_>>()).map(|page| page.to_string());
        assert!(told(&["exit-codes"]).unwrap().contains("64  the command line"));
        assert!(told(&["order", "buy"]).unwrap().contains("Usage: spark order buy"));
        assert!(told(&[]).unwrap().contains("Models and strategies:"));
        assert!(told(&["exit-code"]).unwrap_err().contains("`exit-codes`"));
        assert!(told(&["order", "bye"]).unwrap_err().contains("`buy`"));
    }

    #[test]
    fn exit_codes_are_those_of_the_program() {
        use crate::exit::Exit;
        for code in [Exit::No, Exit::CannotOpen, Exit::Usage, Exit::Unavailable, Exit::Internal, Exit::Temporary, Exit::Restart] {
            let number = format!("  {:<4}", code as i32);
            assert!(EXIT_CODES.lines().any(|line| line.starts_with(&number)), "{code:?}");
        }
    }
}
