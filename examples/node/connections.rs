//! The node's connections with its peers, encrypted if that is asked for.

use std::io;

use streamraft::codec::Hello;
use streamraft::{Mesh, MeshBuildError, MeshTls};
use tokio::net::lookup_host;

use super::{Args, Failure};

/// How many nodes may be connected whose addresses nobody has told this one. Such are those that join, until `nodes`
/// says where they are; without that they stay strangers, which costs them nothing but these places.
const MOST_STRANGERS: usize = 64;

/// Listens, and knows the peers of the arguments. Nobody is dialled before it is polled.
pub(crate) async fn open(args: &Args) -> Result<Mesh, Failure> {
    let cannot = |error: io::Error| format!("cannot listen on {}: {error}", args.listen);
    let hello = Hello::new(&args.cluster, args.id.clone());
    let peers = args.peers.iter();
    let mut builder = Mesh::builder(hello)
        .peers(peers.map(|peer| (peer.id.clone(), peer.at.as_str())))
        .accept_strangers(MOST_STRANGERS);
    if let Some(folder) = &args.tls {
        let own = |kind| folder.join(format!("{}.{kind}", args.id));
        let tls = MeshTls::from_pem_files(folder.join("ca.pem"), own("pem"), own("key"))?;
        builder = builder.tls(tls);
    }
    // A name can have several addresses: the first that can be listened on.
    let mut refused = None;
    for address in lookup_host(&args.listen).await.map_err(cannot)? {
        match builder.clone().listen(address).build() {
            Err(MeshBuildError::Bind { source, .. }) => refused = Some(source),
            built => return Ok(built?),
        }
    }
    let nowhere = || io::Error::new(io::ErrorKind::AddrNotAvailable, "it has no address");
    Err(cannot(refused.unwrap_or_else(nowhere)).into())
}
