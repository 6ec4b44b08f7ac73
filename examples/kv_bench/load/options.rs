//! What can be said about a load on the command line.

use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use humantime::parse_duration;

/// What to ask, how much of it, and at how many connections.
#[derive(Args, Clone, Debug)]
pub(crate) struct Load {
    /// How many connections ask at a time; each waits for its answer before it asks again
    #[arg(long, value_name = "COUNT", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) connections: u32,
    /// For how long to measure
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "5s", default_value_if("requests", clap::builder::ArgPredicate::IsPresent, None), conflicts_with = "requests")]
    pub(crate) duration: Option<Duration>,
    /// How many requests to measure, however long they take
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) requests: Option<u64>,
    /// Bytes of a value, or the least and the most
    #[arg(long, value_name = "BYTES|BYTES..BYTES", default_value = "16..256")]
    pub(crate) value_size: ValueSize,
    /// How many of 100 requests read
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=100))]
    pub(crate) reads: u32,
    /// Read what the node that is asked has, which may be old; the connections are spread over the nodes
    #[arg(long)]
    pub(crate) stale: bool,
    /// How many keys there are
    #[arg(long, value_name = "COUNT", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) keys: u32,
    /// The keys are there, from a run before
    #[arg(long)]
    pub(crate) filled: bool,
    /// How long a connection rests after an answer
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "0s")]
    pub(crate) pause: Duration,
    /// How long one request may take
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "5s")]
    pub(crate) timeout: Duration,
    /// Threads of this program
    #[arg(long, value_name = "COUNT", default_value_t = 2, value_parser = threads)]
    pub(crate) threads: usize,
    /// Print the figures as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// How long values are: any length from the least to the most is as likely.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ValueSize {
    pub(crate) least: usize,
    pub(crate) most: usize,
}

/// What `kv` and etcd take without being told otherwise.
const MOST: usize = 1 << 20;

impl FromStr for ValueSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| {
            let number: Result<usize, _> = text.parse();
            number.map_err(|error| format!("{text:?}: {error}"))
        };
        let (least, most) = text.split_once("..").unwrap_or((text, text));
        let (least, most) = (number(least)?, number(most)?);
        if least > most {
            return Err(format!("{least} is more than {most}"));
        }
        if most > MOST {
            return Err(format!("{most} is more than {MOST}"));
        }
        Ok(Self { least, most })
    }
}

fn threads(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count @ 1..=256) => Ok(count),
        Ok(_) => Err("it is not in 1..=256".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
