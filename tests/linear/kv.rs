//! A key-value store over the applied entries of a simulated node.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

use bytes::Bytes;
use stateright::semantics::SequentialSpec;
use streamraft::raft::Entry;
use streamraft::sim::LogState;

use crate::book::Key;
use crate::history::{Op, Register, Ret, Value};

/// What is proposed: a key, whether and what it must hold, and what it shall hold.
type Written = (Key, bool, Option<Value>, Value);

pub(crate) fn entry(key: Key, op: Op) -> Option<Bytes> {
    let written: Written = match op {
        Op::Put(value) => (key, false, None, value),
        Op::Cas(expected, value) => (key, true, expected, value),
        Op::Get => return None,
    };
    serde_json::to_vec(&written).ok().map(Bytes::from)
}

#[derive(Debug)]
pub(crate) struct Kv {
    /// Another one at every start of the node.
    pub(crate) boot: u64,
    /// Counts how often a snapshot took the place of what one of them held.
    restored: Rc<Cell<u64>>,
    /// It forgets some of what it holds when it takes a snapshot: for a test that this is found.
    forgets: bool,
    keys: BTreeMap<Key, Value>,
    /// By what they write: how the writes ended that it has applied since it started.
    ended: BTreeMap<Value, Ret>,
}

impl Kv {
    pub(crate) fn new(boot: u64, restored: Rc<Cell<u64>>, forgets: bool) -> Self {
        Self {
            boot,
            restored,
            forgets,
            keys: BTreeMap::new(),
            ended: BTreeMap::new(),
        }
    }

    pub(crate) fn get(&self, key: Key) -> Option<Value> {
        self.keys.get(&key).copied()
    }

    pub(crate) fn ended(&self, value: Value) -> Option<Ret> {
        self.ended.get(&value).copied()
    }
}

impl LogState for Kv {
    fn apply(&mut self, entry: &Entry) {
        let (key, swaps, expected, value): Written = serde_json::from_slice(&entry.data).unwrap();
        let mut register = Register(self.get(key));
        let op = match swaps {
            true => Op::Cas(expected, value),
            false => Op::Put(value),
        };
        let ret = register.invoke(&op);
        self.keys.extend(register.0.map(|value| (key, value)));
        assert!(self.ended.insert(value, ret).is_none(), "applied twice");
    }

    fn snapshot(&self) -> Bytes {
        let most = if self.forgets { 1 } else { 0 };
        let keys = self.keys.iter().skip(most);
        Bytes::from(serde_json::to_vec(&keys.collect::<BTreeMap<_, _>>()).unwrap())
    }

    fn restore(&mut self, data: &[u8]) {
        self.keys = serde_json::from_slice(data).unwrap();
        self.restored.set(self.restored.get() + 1);
    }
}
