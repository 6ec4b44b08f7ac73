//! A network between two nodes that delays, reorders, duplicates and loses whole frames.
//!
//! TCP has no such thing: it hands bytes over in order or not at all. But the protocol promises to stand it, and other
//! transports do it. A frame is a length of four bytes and as many bytes; the first of each side, its hello, passes as
//! it is.
//!
//! Absent here: what frames say.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::time::{sleep, timeout};

use super::Failure;

/// More than any message has.
const MOST_BYTES: usize = 1 << 20;

/// How many frames of the past may come again.
const PAST: usize = 32;

/// What the network does at present. Everything at zero: nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Weather {
    /// Every frame comes that much later.
    pub(crate) delay: Duration,
    /// Every frame comes up to that much later, by chance, so that later ones overtake it.
    pub(crate) scatter: Duration,
    /// That many of a hundred come twice: the copy later, or much later and on another connection.
    pub(crate) twice: u32,
    /// That many of a hundred never come.
    pub(crate) lost: u32,
}

/// What was done to frames, by all proxies together.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) passed: AtomicU64,
    pub(crate) delayed: AtomicU64,
    pub(crate) overtaken: AtomicU64,
    pub(crate) duplicated: AtomicU64,
    pub(crate) lost: AtomicU64,
}

/// The way between two nodes, for connections that either of them dials.
#[derive(Clone, Debug)]
pub(crate) struct Way(Arc<Mutex<State>>, Arc<Counts>);

#[derive(Debug)]
struct State {
    weather: Weather,
    rng: Xoshiro256PlusPlus,
    /// The last frames in each direction, on whatever connection, and where the next goes.
    past: [(Vec<Vec<u8>>, usize); 2],
}

/// What becomes of one frame: when it and its copies come.
type Fate = Vec<(Duration, Vec<u8>)>;

impl Way {
    pub(crate) fn new(seed: u64, counts: &Arc<Counts>) -> Self {
        let state = State {
            weather: Weather::default(),
            rng: Xoshiro256PlusPlus::seed_from_u64(seed),
            past: Default::default(),
        };
        Self(Arc::new(Mutex::new(state)), Arc::clone(counts))
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Weather)) {
        change(&mut self.state().weather);
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fate(&self, direction: usize, frame: Vec<u8>) -> Fate {
        let state = &mut *self.state();
        let Weather {
            delay,
            scatter,
            twice,
            lost,
        } = state.weather;
        let late = delay + scatter.mul_f64(state.rng.random());
        let mut fate = vec![(late, frame.clone())];
        if state.rng.random_range(0..100) < lost {
            fate.clear();
            self.1.lost.fetch_add(1, Ordering::Relaxed);
        }
        let (past, next) = &mut state.past[direction];
        if state.rng.random_range(0..100) < twice {
            let is_old = !past.is_empty() && state.rng.random();
            let copy = if is_old {
                past[state.rng.random_range(0..past.len())].clone()
            } else {
                frame.clone()
            };
            let later = Duration::from_millis(state.rng.random_range(0..500));
            fate.push((delay + later, copy));
            self.1.duplicated.fetch_add(1, Ordering::Relaxed);
        }
        if past.len() < PAST {
            past.push(frame);
        } else {
            past[*next] = frame;
            *next = (*next + 1) % PAST;
        }
        fate
    }

    /// Accepts on `here` what one node dials, and dials the other with the same address as its source, so that this
    /// way can be told from others by it. Goes on for ever.
    pub(crate) async fn run(
        self,
        here: Ipv4Addr,
        there: SocketAddr,
        direction: usize,
    ) -> Result<(), Failure> {
        let listener = TcpListener::bind((here, there.port())).await?;
        loop {
            let (near, _) = listener.accept().await?;
            let way = self.clone();
            tokio::spawn(async move {
                // A connection that fails is closed on both sides, which is all that a network can say.
                let _ = way.carry(near, here, there, direction).await;
            });
        }
    }

    async fn carry(
        self,
        near: TcpStream,
        here: Ipv4Addr,
        there: SocketAddr,
        direction: usize,
    ) -> Result<(), Failure> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((here, 0).into())?;
        let far = timeout(Duration::from_secs(2), socket.connect(there)).await??;
        near.set_nodelay(true)?;
        far.set_nodelay(true)?;
        let ((from_near, to_near), (from_far, to_far)) = (near.into_split(), far.into_split());
        tokio::select! {
            done = self.pump(from_near, to_far, direction) => done,
            done = self.pump(from_far, to_near, 1 - direction) => done,
        }
    }

    /// Carries frames in one direction, until its source has ended and all that was under way has come.
    async fn pump(
        &self,
        from: OwnedReadHalf,
        to: OwnedWriteHalf,
        direction: usize,
    ) -> Result<(), Failure> {
        let (sender, mut due) = unbounded_channel();
        let write = async move {
            let (mut to, mut newest) = (to, 0);
            while let Some((number, frame)) = due.recv().await {
                let frame: Vec<u8> = frame;
                if number < newest {
                    self.1.overtaken.fetch_add(1, Ordering::Relaxed);
                }
                newest = newest.max(number);
                to.write_all(&frame).await?;
            }
            Ok(to.shutdown().await?)
        };
        let read = self.read(from, direction, sender);
        let (read, written) = tokio::join!(read, write);
        read.and(written)
    }

    async fn read(
        &self,
        mut from: OwnedReadHalf,
        direction: usize,
        sender: UnboundedSender<(u64, Vec<u8>)>,
    ) -> Result<(), Failure> {
        for number in 0.. {
            let Some(frame) = read_frame(&mut from).await? else {
                break;
            };
            if number == 0 {
                sender.send((number, frame))?;
                continue;
            }
            self.1.passed.fetch_add(1, Ordering::Relaxed);
            for (late, frame) in self.fate(direction, frame) {
                let sender = sender.clone();
                if late.is_zero() {
                    sender.send((number, frame))?;
                    continue;
                }
                self.1.delayed.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(async move {
                    sleep(late).await;
                    let _ = sender.send((number, frame)); // the connection may be gone
                });
            }
        }
        Ok(())
    }
}

/// The next frame with its length. `None` at the end.
async fn read_frame(from: &mut OwnedReadHalf) -> Result<Option<Vec<u8>>, Failure> {
    let Ok(len) = from.read_u32().await else {
        return Ok(None);
    };
    let size = usize::try_from(len)?;
    if size > MOST_BYTES {
        return Err(format!("a frame of {size} bytes").into());
    }
    let mut frame = len.to_be_bytes().to_vec();
    frame.resize(4 + size, 0);
    from.read_exact(&mut frame[4..]).await?;
    Ok(Some(frame))
}
