//! Where lines go: standard output and the log file.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::Path,
};

use anyhow::{Context as _, Result};

use super::item::Item;
use crate::cli::TraceFormat;

/// Both take the same lines.
#[derive(Debug)]
pub(super) struct Output {
    format: TraceFormat,
    has_reader: bool,
    log: Option<File>,
}

impl Output {
    /// Opens the log file, if there is to be one, to append to it.
    ///
    /// # Errors
    /// If it cannot be opened, with its name.
    pub(super) fn open(format: TraceFormat, log: Option<&Path>) -> Result<Self> {
        let open = |path: &Path| {
            let mut options = OpenOptions::new();
            let opened = options.append(true).create(true).open(path);
            opened.with_context(|| format!("cannot open the log file {}", path.display()))
        };
        Ok(Self {
            format,
            has_reader: true,
            log: log.map(open).transpose()?,
        })
    }

    /// Writes the lines of an item. That nobody reads the output any more is no error: the log
    /// goes on.
    ///
    /// # Errors
    /// If one of both cannot be written.
    pub(super) fn write(&mut self, item: &Item<'_>) -> Result<()> {
        let lines = item.lines(self.format)?;
        if let Some(log) = &mut self.log {
            log.write_all(lines.as_bytes())
                .context("cannot write the log file")?;
        }
        if self.has_reader {
            let mut out = io::stdout().lock();
            let written = out.write_all(lines.as_bytes()).and_then(|()| out.flush());
            match written {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => self.has_reader = false,
                written => written.context("cannot write the output")?,
            }
        }
        Ok(())
    }
}
