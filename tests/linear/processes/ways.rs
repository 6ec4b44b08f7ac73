//! The network between processes: each reaches each other through a proxy of its own, and every way can be cut.

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// From whom, to whom.
type Way = (u64, u64);

/// The ways that are cut. What is said on one is late: it comes when the way is mended, as far as buffers hold it.
#[derive(Clone, Debug)]
pub(crate) struct Ways(watch::Sender<BTreeSet<Way>>);

impl Ways {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(BTreeSet::new()))
    }

    pub(crate) fn cut(&self, ways: impl IntoIterator<Item = Way>) {
        self.0.send_modify(|cut| cut.extend(ways));
    }

    pub(crate) fn mend(&self) {
        self.0.send_modify(BTreeSet::clear);
    }

    /// Listens for what one node dials to reach the other. Where.
    pub(crate) async fn open(
        &self,
        from: u64,
        to: u64,
        there: SocketAddr,
    ) -> io::Result<SocketAddr> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let here = listener.local_addr()?;
        let ways = self.clone();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let ways = ways.clone();
                tokio::spawn(async move {
                    // A connection that fails is closed on both sides, which is all that a network can say.
                    let _ = ways.carry(near, (from, to), there).await;
                });
            }
        });
        Ok(here)
    }

    async fn carry(self, near: TcpStream, (from, to): Way, there: SocketAddr) -> io::Result<()> {
        let far = TcpStream::connect(there).await?;
        near.set_nodelay(true)?;
        far.set_nodelay(true)?;
        let ((from_near, to_near), (from_far, to_far)) = (near.into_split(), far.into_split());
        tokio::select! {
            done = self.pump((from, to), from_near, to_far) => done,
            done = self.pump((to, from), from_far, to_near) => done,
        }
    }

    async fn pump(
        &self,
        way: Way,
        mut from: OwnedReadHalf,
        mut to: OwnedWriteHalf,
    ) -> io::Result<()> {
        let mut cut = self.0.subscribe();
        let mut buffer = vec![0; 16 << 10];
        loop {
            let len = from.read(&mut buffer).await;
            // The end of a connection is late, too.
            let mended = cut.wait_for(|cut| !cut.contains(&way)).await;
            drop(mended.map_err(io::Error::other)?);
            match len? {
                0 => return Ok(()),
                len => to.write_all(&buffer[..len]).await?,
            }
        }
    }
}
