//! What it costs to ask whether this node leads.

use std::hint::black_box;
use std::sync::Barrier;
use std::task::Context;
use std::thread;
use std::time::{Duration, Instant};

use futures::task::noop_waker_ref;
use streamraft::{Config, Leadership, TinyRaft};

use crate::report::{Report, figure, median};
use crate::streams::{EVENT_INTERVAL, runtime, take};

const SLICES: usize = 41;

const TIMES: u32 = 100_000;

pub fn compare(report: &mut Report) {
    let runtime = runtime(EVENT_INTERVAL);
    let _guard = runtime.enter();
    let config = Config::new("a", ["a"]).expect("a good name").bootstrap();
    let config = config.election_timeout(Duration::from_secs(600));
    let mut node = TinyRaft::new(config).expect("good settings");
    let leadership = node.leadership();
    let mut context = Context::from_waker(noop_waker_ref());
    while take(&mut node, &mut context).is_some() {}
    assert!(leadership.is_leader(), "a cluster of one leads at once");

    let (mut clock, mut alone, mut contended) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..SLICES {
        clock.push(ns_each(Instant::now));
        alone.push(ask(&leadership));
        contended.extend(ask_from_two(&leadership));
    }
    let [clock, alone, contended] = [clock, alone, contended].map(median);
    report.at_most(
        "`Leadership::is_leader`, asked by two threads: ns",
        30.0,
        contended,
    );
    let line = |name: &str, ns| vec![name.to_owned(), figure(ns)];
    report.table(
        "Leadership",
        "`Leadership::is_leader()`, which reads the clock. The clock alone is what no library can go below.",
        &["", "ns"],
        vec![
            line("`Instant::now` alone", clock),
            line("`is_leader`, one thread", alone),
            line("`is_leader`, two threads at once", contended),
        ],
    );
}

fn ask(leadership: &Leadership) -> f64 {
    ns_each(|| black_box(leadership).is_leader())
}

/// What it takes each of two threads that ask at the same time.
fn ask_from_two(leadership: &Leadership) -> Vec<f64> {
    let together = Barrier::new(2);
    let asker = || {
        let leadership = leadership.clone();
        let together = &together;
        move || {
            together.wait();
            ask(&leadership)
        }
    };
    thread::scope(|scope| {
        let threads = [scope.spawn(asker()), scope.spawn(asker())];
        let times = threads.map(|thread| thread.join());
        times.into_iter().filter_map(Result::ok).collect()
    })
}

fn ns_each<T>(mut work: impl FnMut() -> T) -> f64 {
    let start = Instant::now();
    for _ in 0..TIMES {
        black_box(work());
    }
    start.elapsed().as_secs_f64() * 1e9 / f64::from(TIMES)
}
