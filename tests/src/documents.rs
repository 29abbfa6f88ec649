//! The examples of the documents: fenced blocks of Markdown, the commands in them, and what each is to answer.
//!
//! A block of `sh` is run, unless a comment above it says why not: `<!-- not run: needs Docker -->`. Below a command, lines that begin
//! with `# → ` say what it is to print (`…` stands for anything) or how it is to end (`# → exit 1`). A block of `toml` or `python`
//! whose first line is `# name.toml` is that file, from there on. `<!-- python -->` above a block: it needs packages of an index.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command as Program, Stdio};

/// The first letters of a line that says what a command is to answer.
const EXPECTED: &str = "# → ";

/// A fenced block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The line of its first line of text, from 1.
    pub line: usize,
    /// The word behind the fence: `sh`, `toml`, `json`, `python`; may be empty.
    pub language: String,
    /// The comment right above it, without its arrows.
    pub mark: Option<String>,
    /// Its lines.
    pub lines: Vec<String>,
}

impl Block {
    /// Why it is not run.
    #[must_use]
    pub fn not_run(&self) -> Option<&str> {
        self.mark.as_deref()?.strip_prefix("not run:").map(str::trim)
    }

    /// Whether it needs packages of an index.
    #[must_use]
    pub fn needs_packages(&self) -> bool {
        self.mark.as_deref() == Some("python")
    }

    /// The file that it is, where its first line names one.
    #[must_use]
    pub fn file(&self) -> Option<&str> {
        let name = self.lines.first()?.strip_prefix("# ")?;
        let plain = !name.is_empty() && !name.contains([' ', '/']) && name.contains('.');
        plain.then_some(name)
    }

    /// Its text.
    #[must_use]
    pub fn text(&self) -> String {
        self.lines.join("\n") + "\n"
    }
}

/// Every fenced block of a document.
#[must_use]
pub fn blocks(markdown: &str) -> Vec<Block> {
    let mut found: Vec<Block> = Vec::new();
    let mut open = false;
    let mut mark = None;
    for (index, line) in markdown.lines().enumerate() {
        if let Some(language) = line.strip_prefix("```") {
            open = !open;
            if open {
                found.push(Block { line: index + 2, language: language.trim().to_owned(), mark: mark.take(), lines: Vec::new() });
            }
        } else if open {
            if let Some(block) = found.last_mut() {
                block.lines.push(line.to_owned());
            }
        } else if !line.trim().is_empty() {
            let comment = line.trim().strip_prefix("<!--").and_then(|rest| rest.strip_suffix("-->"));
            mark = comment.map(|text| text.trim().to_owned());
        }
    }
    found
}

/// One command of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The line where it begins, from 1.
    pub line: usize,
    /// What is given to the shell, over one or several lines.
    pub text: String,
    /// How it is to end.
    pub exit: i32,
    /// What it is to print, somewhere, with the line that says so.
    pub prints: Vec<(usize, String)>,
}

/// The commands of a block of `sh`.
#[must_use]
pub fn commands(block: &Block) -> Vec<Command> {
    let mut found: Vec<Command> = Vec::new();
    let mut open = Open::default();
    for (index, text) in block.lines.iter().enumerate() {
        let line = block.line + index;
        if let (true, Some(expected)) = (open.is_closed(), text.strip_prefix(EXPECTED)) {
            let Some(command) = found.last_mut() else { continue };
            match expected.strip_prefix("exit ").and_then(|code| code.trim().parse().ok()) {
                Some(code) => command.exit = code,
                None => command.prints.push((line, expected.trim().to_owned())),
            }
            continue;
        }
        if open.is_closed() && (text.trim().is_empty() || text.starts_with('#')) {
            continue;
        }
        match found.last_mut().filter(|_| !open.is_closed()) {
            Some(command) => command.text.push_str(&format!("\n{text}")),
            None => found.push(Command { line, text: text.clone(), exit: 0, prints: Vec::new() }),
        }
        open.take(text);
    }
    found
}

/// What is still open at the end of a line: a quote, a line that goes on, a text for the standard input.
#[derive(Default)]
struct Open {
    quote: Option<char>,
    goes_on: bool,
    until: Option<String>,
}

impl Open {
    fn is_closed(&self) -> bool {
        self.quote.is_none() && !self.goes_on && self.until.is_none()
    }

    fn take(&mut self, line: &str) {
        if let Some(end) = &self.until {
            if line == end {
                self.until = None;
            }
            return;
        }
        let mut before = ' ';
        let mut code = String::new();
        for letter in line.chars() {
            match self.quote {
                Some(quote) if letter == quote && !(quote == '"' && before == '\\') => self.quote = None,
                Some(_) => {}
                None if letter == '#' && before == ' ' => break,
                None if (letter == '"' || letter == '\'') && before != '\\' => self.quote = Some(letter),
                None => {}
            }
            code.push(letter);
            before = letter;
        }
        let code = code.trim_end();
        self.goes_on = self.quote.is_none() && ["\\", "|", "&&", "||"].iter().any(|end| code.ends_with(end));
        if let Some((_, word)) = code.split_once("<<") {
            let word = word.split_whitespace().next().unwrap_or_default().trim_matches(['\'', '"']);
            self.until = Some(word.to_owned()).filter(|word| !word.is_empty() && !word.starts_with('<'));
        }
    }
}

/// Whether what was printed holds what was promised: the parts between `…`, in this order.
#[must_use]
pub fn holds(printed: &str, promised: &str) -> bool {
    let mut rest = printed;
    promised.split('…').map(str::trim).all(|part| match rest.find(part) {
        Some(at) => {
            rest = &rest[at + part.len()..];
            true
        }
        None => false,
    })
}

/// An example that did not do what its document says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// `README.md:17`.
    pub place: String,
    /// What, and what was printed.
    pub what: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

/// Where examples are run: a folder that looks like the project's, and the environment.
pub struct Shell {
    /// The working folder.
    pub folder: PathBuf,
    /// Variables beside those of this process.
    pub environment: Vec<(String, String)>,
    /// How long one document may take, s.
    pub limit_s: u64,
}

impl Shell {
    /// Runs commands one after the other in one shell, which ends with the first that does not end as it is to.
    ///
    /// # Errors
    /// The first example that does not do what the document says.
    ///
    /// # Panics
    /// There is no `bash`, or the folder cannot be written.
    pub fn run(&self, document: &str, commands: &[Command]) -> Result<Vec<(f64, String)>, Broken> {
        let steps = self.folder.join(".steps");
        let _ = std::fs::remove_dir_all(&steps);
        std::fs::create_dir_all(&steps).expect("folder for what is printed");
        std::fs::write(steps.join("script"), script(commands, &steps)).expect("script");
        let mut bash = Program::new("timeout");
        bash.args(["--kill-after=5", &self.limit_s.to_string(), "bash"]).arg(steps.join("script")).current_dir(&self.folder);
        for name in ["SPARK_TOKEN", "SPARK_DATA", "SPARK_CONFIG", "NATS_URL", "SPARK_NKEY_SEED_FILE"] {
            bash.env_remove(name);
        }
        let environment = self.environment.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let status = bash.envs(environment).stdin(Stdio::null()).status().expect("bash runs");
        let mut times = Vec::new();
        for (index, command) in commands.iter().enumerate() {
            let broken = |line: usize, what: String| Err(Broken { place: format!("{document}:{line}"), what });
            let read = |what: &str| std::fs::read_to_string(steps.join(format!("{index}.{what}"))).unwrap_or_default();
            let printed = read("out");
            let Ok(code) = read("code").trim().parse::<i32>() else {
                let what =
                    format!("`{}` did not end within {} s of its document ({status}):\n{printed}", command.text, self.limit_s);
                return broken(command.line, what);
            };
            if code != command.exit {
                return broken(command.line, format!("`{}` ended with {code}, not {}:\n{printed}", command.text, command.exit));
            }
            if let Some((line, promised)) = command.prints.iter().find(|(_, promised)| !holds(&printed, promised)) {
                return broken(*line, format!("`{}` does not print `{promised}`:\n{printed}", command.text));
            }
            times.push((read("time").trim().parse().unwrap_or(0.0), command.text.clone()));
        }
        Ok(times)
    }
}

fn script(commands: &[Command], steps: &Path) -> String {
    let mut script = String::from("set -o pipefail\n");
    for (index, Command { text, exit, .. }) in commands.iter().enumerate() {
        let step = steps.join(index.to_string());
        let step = step.display();
        script.push_str(&format!(
            "__began=$EPOCHREALTIME\n{{\n{text}\n}} >'{step}.out' 2>&1\n__code=$?\n\
             awk \"BEGIN {{ print $EPOCHREALTIME - $__began }}\" >'{step}.time'\n\
             echo $__code >'{step}.code'\n[ $__code = {exit} ] || exit 99\n"
        ));
    }
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "Text.\n\n<!-- not run: needs Docker -->\n```sh\ndocker compose up\n```\n\nMore.\n```sh\n# first\nls -l  # it's said\n# → a … b\n\
        # → exit 2\ncat <<'E' &&\nit's\nE\necho \"x\ny\"\n```\n```toml\n# rules.toml\na = 1\n```\n";

    #[test]
    fn blocks_know_their_lines_their_marks_and_their_files() {
        let blocks = blocks(TEXT);
        let seen: Vec<(usize, &str, Option<&str>, Option<&str>)> =
            blocks.iter().map(|block| (block.line, block.language.as_str(), block.not_run(), block.file())).collect();
        let want = [(5, "sh", Some("needs Docker"), None), (10, "sh", None, None), (21, "toml", None, Some("rules.toml"))];
        assert_eq!(seen, want);
    }

    #[test]
    fn commands_know_what_they_are_to_answer() {
        let blocks = blocks(TEXT);
        let commands = commands(&blocks[1]);
        let seen: Vec<(usize, &str, i32)> =
            commands.iter().map(|command| (command.line, command.text.as_str(), command.exit)).collect();
        assert_eq!(seen, [(11, "ls -l  # it's said", 2), (14, "cat <<'E' &&\nit's\nE\necho \"x\ny\"", 0)]);
        assert_eq!(commands[0].prints, [(12, "a … b".to_owned())]);
    }

    #[test]
    fn what_is_promised_is_looked_for_part_by_part() {
        assert!(holds("one two three", "one … three") && holds("x", "…"));
        assert!(!holds("three one", "one … three"));
    }

    #[test]
    fn a_broken_example_is_named_with_document_line_and_output() {
        let folder = std::env::temp_dir().join(format!("spark-documents-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let shell = Shell { folder: folder.clone(), environment: vec![("WORD".into(), "hello".into())], limit_s: 2 };
        let run = |text: &str| shell.run("a.md", &commands(&blocks(text)[0])).map_err(|broken| broken.to_string());
        assert!(run("```sh\nexport A=$WORD\necho $A\n# → hello\nfalse\n# → exit 1\n```").is_ok());
        let check = |text: &str, want: &str| {
            let broken = run(text).unwrap_err();
            assert!(broken.starts_with(want), "{broken}");
        };
        check("```sh\ntrue\nls /nowhere\ntrue\n```", "a.md:3: `ls /nowhere` ended with 2, not 0:\nls:");
        check("```sh\necho one\n# → two\n```", "a.md:3: `echo one` does not print `two`:\none\n");
        check("```sh\nsleep 30\n```", "a.md:2: `sleep 30` did not end within 2 s");
        std::fs::remove_dir_all(folder).unwrap();
    }
}
