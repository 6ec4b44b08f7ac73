//! What clients asked of one key and were told, in the order in which it happened, and whether one register could have told it.

use std::collections::BTreeSet;
use std::fmt;

use stateright::semantics::{ConsistencyTester, LinearizabilityTester, SequentialSpec};

/// What a key holds. No two writes of a history write the same.
pub(crate) type Value = u64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Put(Value),
    /// Writes only if the key holds this; nothing: if it does not exist.
    Cas(Option<Value>, Value),
    Get,
}

impl Op {
    /// What it may write.
    pub(crate) fn value(&self) -> Option<Value> {
        match self {
            Self::Put(value) | Self::Cas(_, value) => Some(*value),
            Self::Get => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ret {
    Done,
    /// A `Cas` that found this instead.
    Found(Option<Value>),
    Got(Option<Value>),
}

/// One key as it should be.
#[derive(Clone, Debug, Default)]
pub(crate) struct Register(pub(crate) Option<Value>);

impl SequentialSpec for Register {
    type Op = Op;
    type Ret = Ret;

    fn invoke(&mut self, op: &Op) -> Ret {
        match *op {
            Op::Cas(expected, _) if self.0 != expected => Ret::Found(self.0),
            Op::Put(value) | Op::Cas(_, value) => {
                self.0 = Some(value);
                Ret::Done
            }
            Op::Get => Ret::Got(self.0),
        }
    }
}

/// Names an operation of a history.
pub(crate) type Number = usize;

#[derive(Clone, Copy, Debug)]
enum Event {
    Asked(Number),
    Told(Number),
}

/// Everything that was asked of one key.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    ops: Vec<(Op, Option<Ret>)>,
    events: Vec<Event>,
}

impl History {
    pub(crate) fn len(&self) -> usize {
        self.ops.len()
    }

    /// How many writes nobody knows the end of: a checker has to try them at every place.
    pub(crate) fn open(&self) -> usize {
        let is_open = |(op, ret): &&(Op, Option<Ret>)| ret.is_none() && op.value().is_some();
        self.ops.iter().filter(is_open).count()
    }

    pub(crate) fn asks(&mut self, op: Op) -> Number {
        let number = self.ops.len();
        self.ops.push((op, None));
        self.events.push(Event::Asked(number));
        number
    }

    /// An operation that is never told stays open to the end: it may take effect at any time later, or never.
    pub(crate) fn told(&mut self, number: Number, ret: Ret) {
        self.ops[number].1 = Some(ret);
        self.events.push(Event::Told(number));
    }

    /// What it was told is known better by now.
    pub(crate) fn correct(&mut self, number: Number, ret: Ret) {
        self.ops[number].1 = Some(ret);
    }

    /// It had no effect, and must not have any.
    pub(crate) fn never(&mut self, number: Number) {
        self.ops[number] = (Op::Get, None);
    }

    /// What somebody saw of it. An open write that nobody saw can be left out: where it could stand, nobody looked.
    fn seen(&self) -> BTreeSet<Value> {
        let told = self.ops.iter().filter_map(|(op, ret)| match (op, (*ret)?) {
            (_, Ret::Got(value) | Ret::Found(value)) => value,
            (Op::Cas(expected, _), Ret::Done) => *expected,
            _ => None,
        });
        let mut seen: BTreeSet<Value> = told.collect();
        loop {
            // Who saw what an open `Cas` wrote saw what it had found.
            let before = seen.len();
            for (op, _) in &self.ops {
                if let Op::Cas(Some(expected), value) = op
                    && seen.contains(value)
                {
                    seen.insert(*expected);
                }
            }
            if seen.len() == before {
                return seen;
            }
        }
    }

    /// Asks the checker.
    ///
    /// It knows threads with one operation at a time, and tries those with the lowest numbers first: each operation gets
    /// the lowest that is free when it is asked, an open one a number of its own behind all these.
    pub(crate) fn check(&self) -> Result<(), String> {
        let seen = self.seen();
        let mut tester = LinearizabilityTester::new(Register::default());
        let (mut busy, mut threads) = (BTreeSet::new(), vec![0; self.ops.len()]);
        for event in &self.events {
            match *event {
                Event::Asked(number) => match self.ops[number] {
                    (op, Some(_)) => {
                        let thread = (0..).find(|thread| !busy.contains(thread)).unwrap_or(0);
                        busy.insert(thread);
                        threads[number] = thread;
                        tester.on_invoke(thread, op)?;
                    }
                    (op, None) if op.value().is_some_and(|value| seen.contains(&value)) => {
                        tester.on_invoke(self.ops.len() + number, op)?;
                    }
                    _ => {}
                },
                Event::Told(number) => {
                    if let Some(ret) = self.ops[number].1 {
                        busy.remove(&threads[number]);
                        tester.on_return(threads[number], ret)?;
                    }
                }
            }
        }
        if tester.is_consistent() {
            Ok(())
        } else {
            Err(format!("no order of these explains what was told:\n{self}"))
        }
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for event in &self.events {
            match *event {
                Event::Asked(number) => {
                    let (op, ret) = self.ops[number];
                    let open = if ret.is_none() { "   (open)" } else { "" };
                    writeln!(f, "  {number:3} asks {op:?}{open}")?;
                }
                Event::Told(number) => writeln!(f, "  {number:3}      {:?}", self.ops[number].1)?,
            }
        }
        Ok(())
    }
}

#[test]
fn what_one_register_tells_is_linearizable() {
    let mut history = History::default();
    let one = history.asks(Op::Put(1));
    let two = history.asks(Op::Cas(Some(1), 2));
    history.told(two, Ret::Done);
    let get = history.asks(Op::Get);
    history.told(get, Ret::Got(Some(2)));
    // As if it had been before the others, which it may.
    history.told(one, Ret::Done);
    history.check().unwrap();
}

#[test]
fn an_open_write_may_take_effect_later_or_never_and_only_once() {
    let mut history = History::default();
    let _ = history.asks(Op::Put(1));
    let _ = history.asks(Op::Put(9));
    for (ask, value) in [(2, Some(2)), (3, Some(1))] {
        let put = history.asks(Op::Put(ask));
        history.told(put, Ret::Done);
        let get = history.asks(Op::Get);
        history.told(get, Ret::Got(value));
    }
    history.check().unwrap();
    let put = history.asks(Op::Put(4));
    history.told(put, Ret::Done);
    let get = history.asks(Op::Get);
    history.told(get, Ret::Got(Some(1)));
    history.check().unwrap_err();
}

#[test]
fn a_read_of_what_was_overwritten_and_a_lost_write_are_not() {
    let mut history = History::default();
    for value in [1, 2] {
        let put = history.asks(Op::Put(value));
        history.told(put, Ret::Done);
    }
    let mut stale = history.clone();
    let get = stale.asks(Op::Get);
    stale.told(get, Ret::Got(Some(1)));
    stale.check().unwrap_err();

    let mut lost = history.clone();
    let cas = lost.asks(Op::Cas(Some(2), 3));
    lost.told(cas, Ret::Done);
    let cas = lost.asks(Op::Cas(Some(2), 4));
    lost.told(cas, Ret::Done);
    lost.check().unwrap_err();

    let put = history.asks(Op::Get);
    history.told(put, Ret::Got(Some(7)));
    history.check().unwrap_err();
}
