//! A connection in a real `sqlite3` shell: one process, fed through a pipe.
//!
//! The shell flushes its output before it reads the next line, and errors go to a file of
//! their own: when the mark printed after a statement has arrived, both are complete.

use std::io::{BufRead, BufReader, Read, Seek, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::place;
use crate::session::{Answer, Open, Session};

const MARK: &str = "--nuda-sql-tests-mark--";

pub(crate) struct Shell {
    process: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    errors: std::fs::File,
}

/// The version of the shell on this machine.
pub(crate) fn version() -> Result<String, String> {
    let out = Command::new("sqlite3")
        .arg("--version")
        .output()
        .map_err(|e| format!("no sqlite3 shell: {e}"))?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    Ok(text.split_whitespace().next().unwrap_or("?").to_owned())
}

/// Opens `open` in a shell of its own. `Err` is the answer of the `.load`.
pub(crate) fn open(open: &Open<'_>) -> Result<Box<dyn Session>, String> {
    let errors = tempfile::tempfile().map_err(|e| e.to_string())?;
    let mut command = Command::new("sqlite3");
    command.arg("-batch").arg("-init").arg("/dev/null");
    if open.read_only {
        command.arg("-readonly");
    }
    let mut process = command
        .arg(open.file)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(errors.try_clone().map_err(|e| e.to_string())?)
        .spawn()
        .map_err(|e| format!("no sqlite3 shell: {e}"))?;
    let (Some(input), Some(output)) = (process.stdin.take(), process.stdout.take()) else {
        return Err("no pipe to the shell".to_owned());
    };
    let mut shell = Shell {
        process,
        input: Some(input),
        output: BufReader::new(output),
        errors,
    };
    shell.run(".mode list");
    shell.run(".nullvalue NULL");
    shell.run(".timeout 5000");
    if open.extension {
        let extension = place::extension();
        let loaded = shell.run(&format!(".load {}", extension.display()));
        if let Some(error) = loaded.error {
            return Err(error);
        }
    }
    Ok(Box::new(shell))
}

impl Session for Shell {
    fn run(&mut self, statement: &str) -> Answer {
        let sent = self.input.as_mut().is_some_and(|i| {
            writeln!(i, "{statement}\n.print {MARK}")
                .and_then(|()| i.flush())
                .is_ok()
        });
        let mut answer = Answer::default();
        let mut line = Vec::new();
        if !sent {
            answer.error = Some("the shell died".to_owned());
            return answer;
        }
        loop {
            line.clear();
            match self.output.read_until(b'\n', &mut line) {
                Ok(n) if n > 0 => {}
                _ => {
                    answer.error = Some("the shell died".to_owned());
                    return answer;
                }
            }
            let text = String::from_utf8_lossy(&line);
            let text = text.trim_end_matches('\n');
            if text == MARK {
                break;
            }
            answer.rows.push(text.to_owned());
        }
        let mut errors = String::new();
        let read = self
            .errors
            .rewind()
            .and_then(|()| self.errors.read_to_string(&mut errors));
        if read.is_ok() && !errors.is_empty() {
            answer.error = Some(bare(&errors));
            let emptied = self.errors.set_len(0).and_then(|()| self.errors.rewind());
            debug_assert!(emptied.is_ok());
        }
        answer
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        self.input = None;
        let _ = self.process.wait();
    }
}

/// `Runtime error near line 3: no such table: x (1)` is `no such table: x`.
fn bare(errors: &str) -> String {
    let first = errors.lines().next().unwrap_or_default();
    let text = match first.split_once("near line ") {
        Some((_, rest)) => rest.split_once(": ").map_or(rest, |(_, text)| text),
        None => first.strip_prefix("Error: ").unwrap_or(first),
    };
    let text = text.strip_prefix("stepping, ").unwrap_or(text);
    match text.rsplit_once(" (") {
        Some((text, code)) if code.trim_end_matches(')').parse::<u32>().is_ok() => text.to_owned(),
        _ => text.to_owned(),
    }
}
