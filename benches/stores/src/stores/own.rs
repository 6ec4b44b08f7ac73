//! The floor: one file of our own, to which records are appended. It only shows what the crates cost; it takes back no space.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;

use crate::log::{Content, Log, Result};

pub struct Own {
    file: File,
    content: Content,
}

impl Own {
    pub fn open(folder: &Path) -> Result<Self> {
        let mut file = OpenOptions::new()
            .create(true)
            .read(true)
            .append(true)
            .open(folder.join("log"))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let mut content = Content {
            first: 1,
            ..Content::default()
        };
        let mut at = 0;
        while let Some(body) = record(&bytes, at) {
            replay(&mut content, body)?;
            at += 8 + body.len();
        }
        file.set_len(at as u64)?;
        Ok(Self { file, content })
    }

    fn write(&mut self, body: &[u8]) -> Result<()> {
        let mut bytes = (body.len() as u32).to_be_bytes().to_vec();
        bytes.extend(crc32fast::hash(body).to_be_bytes());
        bytes.extend(body);
        let end = self.file.metadata()?.len();
        if let Err(error) = self.file.write_all(&bytes) {
            self.file.set_len(end)?;
            return Err(error.into());
        }
        Ok(self.file.sync_data()?)
    }
}

/// The body of the record at this place, if it is whole.
fn record(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let head = bytes.get(at..at + 8)?;
    let len = u32::from_be_bytes(head[..4].try_into().ok()?) as usize;
    let body = bytes.get(at + 8..)?.get(..len)?;
    (crc32fast::hash(body).to_be_bytes() == head[4..]).then_some(body)
}

fn take<'a>(body: &mut &'a [u8], len: usize) -> Result<&'a [u8]> {
    let (head, rest) = body.split_at_checked(len).ok_or("a record ends too soon")?;
    *body = rest;
    Ok(head)
}

fn replay(content: &mut Content, mut body: &[u8]) -> Result<()> {
    let body = &mut body;
    let kind = take(body, 1)?[0];
    let index = u64::from_be_bytes(take(body, 8)?.try_into()?);
    if kind == 1 {
        let gone = (index + 1).saturating_sub(content.first);
        content.entries.drain(..gone as usize);
        content.first = index + 1;
        return Ok(());
    }
    content.hard = u64::from_be_bytes(take(body, 8)?.try_into()?);
    content.entries.truncate((index - content.first) as usize);
    while !body.is_empty() {
        let len = u32::from_be_bytes(take(body, 4)?.try_into()?);
        content.entries.push(take(body, len as usize)?.to_vec());
    }
    Ok(())
}

impl Log for Own {
    fn append(&mut self, first: u64, entries: &[Vec<u8>], hard: u64) -> Result<()> {
        let mut body = vec![0];
        body.extend(first.to_be_bytes());
        body.extend(hard.to_be_bytes());
        for entry in entries {
            body.extend((entry.len() as u32).to_be_bytes());
            body.extend(entry);
        }
        self.write(&body)?;
        replay(&mut self.content, &body)
    }

    fn purge(&mut self, through: u64) -> Result<()> {
        let mut body = vec![1];
        body.extend(through.to_be_bytes());
        self.write(&body)?;
        replay(&mut self.content, &body)
    }

    fn read(&self) -> Result<Content> {
        Ok(self.content.clone())
    }
}
