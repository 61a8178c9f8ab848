//! A connection in a driver of another language: a small program in `drivers/` that reads
//! requests and writes answers, one JSON document per line.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use crate::place;
use crate::session::{Answer, Open, Session};

pub(crate) struct Pipe {
    process: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

/// Starts `command` and opens `open` in it.
pub(crate) fn open(command: &[&Path], open: &Open<'_>) -> Result<Box<dyn Session>, String> {
    let Some((program, args)) = command.split_first() else {
        return Err("no program".to_owned());
    };
    let mut process = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| format!("{}: {e}", program.display()))?;
    let (Some(input), Some(output)) = (process.stdin.take(), process.stdout.take()) else {
        return Err("no pipe to the driver".to_owned());
    };
    let mut pipe = Pipe {
        process,
        input: Some(input),
        output: BufReader::new(output),
    };
    let extension = open.extension.then(place::extension);
    let answer = pipe.ask(&json!({
        "file": open.file,
        "extension": extension,
        "read_only": open.read_only,
    }));
    match answer.error {
        Some(error) => Err(error),
        None => Ok(Box::new(pipe)),
    }
}

impl Pipe {
    fn ask(&mut self, request: &Value) -> Answer {
        let failed = |why: &str| Answer {
            rows: Vec::new(),
            error: Some(why.to_owned()),
        };
        let Some(input) = self.input.as_mut() else {
            return failed("closed");
        };
        if writeln!(input, "{request}")
            .and_then(|()| input.flush())
            .is_err()
        {
            return failed("the driver died");
        }
        let mut line = String::new();
        if self.output.read_line(&mut line).unwrap_or(0) == 0 {
            return failed("the driver died");
        }
        let Ok(answer) = serde_json::from_str::<Value>(&line) else {
            return failed(&format!("the driver answered {line}"));
        };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        // A value may span lines, as it does in the shell.
        let rows = answer["rows"].as_array().map_or_else(Vec::new, |rows| {
            rows.iter()
                .flat_map(|row| text(row).split('\n').map(str::to_owned).collect::<Vec<_>>())
                .collect()
        });
        Answer {
            rows,
            error: answer["error"].as_str().map(str::to_owned),
        }
    }
}

impl Session for Pipe {
    fn run(&mut self, statement: &str) -> Answer {
        self.ask(&json!({ "sql": statement }))
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.input = None;
        let _ = self.process.wait();
    }
}
