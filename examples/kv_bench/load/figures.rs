//! What was measured, and how it is told.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::{Duration, Instant};

use hdrhistogram::{CreationError, Histogram};
use serde_json::{Value, json};

use super::{Ask, Load, Unanswered};

/// Durations are kept in microseconds, up to this one.
const MOST: u64 = 600_000_000;

/// Filled while it is measured.
pub(crate) struct Record {
    puts: Histogram<u64>,
    gets: Histogram<u64>,
    unanswered: BTreeMap<Unanswered, u64>,
    began: Instant,
    last: Instant,
    silence: Duration,
}

impl Record {
    pub(crate) fn new(began: Instant) -> Result<Self, CreationError> {
        Ok(Self {
            puts: Histogram::new_with_max(MOST, 3)?,
            gets: Histogram::new_with_max(MOST, 3)?,
            unanswered: BTreeMap::new(),
            began,
            last: began,
            silence: Duration::ZERO,
        })
    }

    pub(crate) fn add(&mut self, ask: &Ask, began: Instant, asked: Result<(), Unanswered>) {
        let now = Instant::now();
        if let Err(why) = asked {
            *self.unanswered.entry(why).or_default() += 1;
            return;
        }
        self.silence = self.silence.max(now - self.last);
        self.last = now;
        let histogram = match ask {
            Ask::Put { .. } => &mut self.puts,
            Ask::Get { .. } => &mut self.gets,
        };
        histogram.saturating_record((now - began).as_micros() as u64);
    }

    pub(crate) fn figures(mut self) -> Figures {
        self.silence = self.silence.max(self.last.elapsed());
        let took = self.last - self.began;
        Figures { took, record: self }
    }
}

/// What came of a load.
pub(crate) struct Figures {
    /// Until the last answer.
    took: Duration,
    record: Record,
}

impl Figures {
    pub(crate) fn answered(&self) -> u64 {
        self.record.puts.len() + self.record.gets.len()
    }

    fn rows(&self) -> impl Iterator<Item = (&'static str, &Histogram<u64>)> {
        let rows = [("puts", &self.record.puts), ("gets", &self.record.gets)];
        rows.into_iter().filter(|(_, times)| !times.is_empty())
    }

    fn per_second(&self, count: u64) -> f64 {
        count as f64 / self.took.as_secs_f64().max(1e-9)
    }

    pub(crate) fn report(&self, name: &str, load: &Load) -> String {
        match load.json {
            true => self.json().to_string(),
            false => self.text(name, load),
        }
    }

    fn json(&self) -> Value {
        let rows = self.rows().map(|(name, times)| {
            let millis = |quantile| times.value_at_quantile(quantile) as f64 / 1e3;
            let row = json!({
                "count": times.len(),
                "per_second": self.per_second(times.len()),
                "p50_ms": millis(0.5),
                "p99_ms": millis(0.99),
                "p999_ms": millis(0.999),
                "max_ms": times.max() as f64 / 1e3,
            });
            (name.to_owned(), row)
        });
        let mut figures: serde_json::Map<String, Value> = rows.collect();
        figures.insert("seconds".to_owned(), self.took.as_secs_f64().into());
        figures.insert(
            "silence_ms".to_owned(),
            (self.record.silence.as_secs_f64() * 1e3).into(),
        );
        figures.insert("unanswered".to_owned(), json!(self.record.unanswered));
        figures.into()
    }

    fn text(&self, name: &str, load: &Load) -> String {
        let (least, most) = (load.value_size.least, load.value_size.most);
        let mut text = format!(
            "{name}: {} connections, values of {least} to {most} bytes, {} of 100 requests read{}, {:.1} s\n{:<6}{:>10}{:>12}{:>10}{:>10}{:>10}{:>10}\n",
            load.connections,
            load.reads,
            if load.stale { " what may be old" } else { "" },
            self.took.as_secs_f64(),
            "ms",
            "answers",
            "a second",
            "p50",
            "p99",
            "p99.9",
            "max",
        );
        for (name, times) in self.rows() {
            let _ = write!(
                text,
                "{name:<6}{:>10}{:>12.0}",
                times.len(),
                self.per_second(times.len())
            );
            for micros in [
                times.value_at_quantile(0.5),
                times.value_at_quantile(0.99),
                times.value_at_quantile(0.999),
                times.max(),
            ] {
                let _ = write!(text, "{:>10.2}", micros as f64 / 1e3);
            }
            text.push('\n');
        }
        let silence = self.record.silence.as_secs_f64() * 1e3;
        let _ = write!(
            text,
            "longest time without an answer: {silence:.1} ms; unanswered: "
        );
        let total: u64 = self.record.unanswered.values().sum();
        let _ = write!(text, "{total}");
        for (why, count) in &self.record.unanswered {
            let _ = write!(text, "\n{count:>10} {why}");
        }
        text
    }
}
