//! Flags of `wavetank plugin push` and `pull`.

use std::path::PathBuf;

use clap::Args;

/// `wavetank plugin push`
#[derive(Debug, Args)]
pub struct PushArgs {
    /// A `.wasm` component
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Where: HOST[:PORT]/NAME:TAG
    #[arg(value_name = "REFERENCE")]
    pub reference: String,
    /// The commit that it was built from; that of the file's own repository, if nothing in it has changed since
    #[arg(long, value_name = "COMMIT")]
    pub revision: Option<String>,
    /// Where its source is; what it says of itself
    #[arg(long, value_name = "URL")]
    pub source: Option<String>,
    /// What it does, in a line; what it says of itself
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
    /// Its signature, as minisign writes it; FILE.minisig if there is one
    #[arg(long, value_name = "PATH")]
    pub signature: Option<PathBuf>,
    /// Speaks without TLS, to other machines as well
    #[arg(long)]
    pub plain_http: bool,
}

/// `wavetank plugin pull`
#[derive(Debug, Args)]
pub struct PullArgs {
    /// What: HOST[:PORT]/NAME:TAG or HOST[:PORT]/NAME@sha256:DIGEST
    #[arg(value_name = "REFERENCE")]
    pub reference: String,
    /// Where to; NAME.wasm, `-` as `_`
    #[arg(long, value_name = "FILE")]
    pub to: Option<PathBuf>,
    /// Takes it only if one of these keys has signed it (minisign: a public key, or its file)
    #[arg(long, value_name = "KEY")]
    pub trust: Vec<String>,
    /// Speaks without TLS, to other machines as well
    #[arg(long)]
    pub plain_http: bool,
}
