//! A CA for a test cluster, and a certificate and a key for each of its nodes:
//!
//! ```text
//! cargo run --example certs -- --out tls a b c
//! cargo run --example node -- --tls tls --id a --listen 127.0.0.1:7001 --peer b=127.0.0.1:7002 --peer c=127.0.0.1:7003
//! ```
//!
//! writes `ca.pem`, and `ID.pem` and `ID.key` for every id; the keys can be read by their owner only. Each node needs
//! the CA and its own two files. Nothing is overwritten without `--force`, which makes all of them anew.
//!
//! The CA's key is not kept, so nobody can sign anything more in its name; a node that is added later asks for a new
//! CA and new certificates for all. That is good enough to try TLS out and to test. A cluster that is to last should
//! have its certificates from whatever signs the other ones of its operator.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::Parser;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};
use streamraft::{MeshTls, NodeId};

type Failure = Box<dyn std::error::Error>;

const HOUR: Duration = Duration::from_secs(60 * 60);

/// A CA for a test cluster, and a certificate and a key for each of its nodes.
#[derive(Parser)]
struct Args {
    /// The folder to write to; made if it is not there
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// For how many days the certificates are good
    #[arg(long, value_name = "DAYS", default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    days: u32,
    /// Replace files that are there; those of ids that are not named stay, and belong to no CA any more
    #[arg(long)]
    force: bool,
    /// The ids of the nodes
    #[arg(value_name = "ID", required = true)]
    ids: Vec<NodeId>,
}

/// A file that is to be written.
struct Output {
    path: PathBuf,
    content: String,
    is_secret: bool,
}

fn run(args: &Args) -> Result<(), Failure> {
    let ids: BTreeSet<&NodeId> = args.ids.iter().collect();
    for id in &ids {
        let file = Path::new(id.as_str()).file_name();
        if file != Some(id.as_str().as_ref()) || id.as_str() == "ca" {
            return Err(format!("{id:?} cannot name a file of its own: take another id").into());
        }
    }
    let outputs = issue(&ids, args)?;
    let there: Vec<_> = outputs
        .iter()
        .filter(|output| output.path.exists())
        .collect();
    if let Some(first) = there.first().filter(|_| !args.force) {
        let (path, count) = (first.path.display(), there.len());
        return Err(format!(
            "{path} is there ({count} of the files are): take another folder, or --force"
        )
        .into());
    }
    fs::create_dir_all(&args.out)?;
    for output in &outputs {
        write(output).map_err(|error| format!("{}: {error}", output.path.display()))?;
    }
    // What was written is what a node will read.
    for id in &ids {
        let [ca, certificate, key] = [file(args, "ca.pem"), pem_of(args, id), key_of(args, id)];
        MeshTls::from_pem_files(ca, certificate, key)?;
    }
    explain(&ids, args)
}

fn issue(ids: &BTreeSet<&NodeId>, args: &Args) -> Result<Vec<Output>, Failure> {
    let mut params = params("streamraft test CA", args)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    let mut outputs = vec![Output {
        path: file(args, "ca.pem"),
        content: ca.pem(),
        is_secret: false,
    }];
    for id in ids {
        let (certificate, key) = issue_one(id, &ca, args)?;
        outputs.push(Output {
            path: pem_of(args, id),
            content: certificate,
            is_secret: false,
        });
        outputs.push(Output {
            path: key_of(args, id),
            content: key,
            is_secret: true,
        });
    }
    Ok(outputs)
}

fn issue_one(
    id: &NodeId,
    ca: &CertifiedIssuer<'_, KeyPair>,
    args: &Args,
) -> Result<(String, String), Failure> {
    let mut params = params(id.as_str(), args)?;
    let alt_name = MeshTls::alt_name(id.as_str());
    params.subject_alt_names = vec![match alt_name.split_once(':') {
        Some(("DNS", name)) => SanType::DnsName(name.try_into()?),
        Some((_, uri)) => SanType::URI(uri.try_into()?),
        None => return Err(format!("no form for {alt_name}").into()),
    }];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    // Every node is dialled, and dials.
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, ca)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

fn params(common_name: &str, args: &Args) -> Result<CertificateParams, Failure> {
    let now = date_time_ymd(1970, 1, 1) + SystemTime::UNIX_EPOCH.elapsed()?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    // Clocks differ.
    params.not_before = now - HOUR;
    params.not_after = now + HOUR * 24 * args.days;
    Ok(params)
}

fn file(args: &Args, name: &str) -> PathBuf {
    args.out.join(name)
}

fn pem_of(args: &Args, id: &NodeId) -> PathBuf {
    file(args, &format!("{id}.pem"))
}

fn key_of(args: &Args, id: &NodeId) -> PathBuf {
    file(args, &format!("{id}.key"))
}

/// Makes the file anew: one that is there would keep its permissions.
fn write(output: &Output) -> io::Result<()> {
    match fs::remove_file(&output.path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    if output.is_secret {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options
        .open(&output.path)?
        .write_all(output.content.as_bytes())
}

fn explain(ids: &BTreeSet<&NodeId>, args: &Args) -> Result<(), Failure> {
    let folder = args.out.display();
    let mut out = io::stdout().lock();
    writeln!(out, "In {folder}, good for {} days:", args.days)?;
    writeln!(out, "  ca.pem  the CA, for all nodes; its key was not kept")?;
    for id in ids {
        let alt_name = MeshTls::alt_name(id.as_str());
        writeln!(
            out,
            "  {id}.pem, {id}.key  for node {id} alone ({alt_name})"
        )?;
    }
    writeln!(out, "Each node needs ca.pem and its own two files:")?;
    for id in ids {
        writeln!(
            out,
            "  cargo run --example node -- --tls {folder} --id {id} .."
        )?;
    }
    Ok(())
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("certs: {error}");
            ExitCode::FAILURE
        }
    }
}
