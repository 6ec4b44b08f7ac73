//! Made for the logs of many Raft groups. Its entries are messages of protobuf; the empty parts of one carry ours.

use std::path::Path;

use protobuf::well_known_types::Any;
use raft_engine::{Config, Engine, LogBatch, MessageExt, ReadableSize};

use crate::log::{Content, Log, Result, collect};

const GROUP: u64 = 1;

struct Entries;

impl MessageExt for Entries {
    type Entry = Any;

    fn index(entry: &Any) -> u64 {
        entry.type_url.parse().unwrap_or_default()
    }
}

pub struct RaftEngine(Engine);

impl RaftEngine {
    pub fn open(folder: &Path) -> Result<Self> {
        let config = Config {
            dir: folder.display().to_string(),
            target_file_size: ReadableSize::mb(4),
            purge_threshold: ReadableSize::mb(64),
            batch_compression_threshold: ReadableSize(0),
            ..Config::default()
        };
        Ok(Self(Engine::open(config)?))
    }
}

impl Log for RaftEngine {
    fn append(&mut self, first: u64, entries: &[Vec<u8>], hard: u64) -> Result<()> {
        let entries: Vec<Any> = (first..)
            .zip(entries)
            .map(|(index, entry)| {
                let mut any = Any::new();
                any.type_url = index.to_string();
                any.value = entry.clone();
                any
            })
            .collect();
        let mut batch = LogBatch::default();
        batch.add_entries::<Entries>(GROUP, &entries)?;
        batch.put(GROUP, b"hard".to_vec(), hard.to_be_bytes().to_vec())?;
        self.0.write(&mut batch, true)?;
        Ok(())
    }

    fn purge(&mut self, through: u64) -> Result<()> {
        self.0.compact_to(GROUP, through + 1);
        self.0.purge_expired_files()?;
        Ok(())
    }

    fn read(&self) -> Result<Content> {
        let Some(hard) = self.0.get(GROUP, b"hard") else {
            return Ok(Content::default());
        };
        let hard = u64::from_be_bytes(hard.as_slice().try_into()?);
        let (Some(first), Some(last)) = (self.0.first_index(GROUP), self.0.last_index(GROUP))
        else {
            return collect(hard, std::iter::empty());
        };
        let mut entries = Vec::new();
        self.0
            .fetch_entries_to::<Entries>(GROUP, first, last + 1, None, &mut entries)?;
        collect(
            hard,
            entries
                .into_iter()
                .map(|any| Ok((any.type_url.parse()?, any.value))),
        )
    }
}
