//! TLS to PostgreSQL, in libpq's words: `sslmode`, `sslrootcert`, `sslcert`, `sslkey`.
//!
//! The driver knows half of them, so they are taken out of the address before it sees it. They mean
//! what they mean to `psql`: `prefer` (the default) encrypts where the server offers it, `require`
//! encrypts without asking who the server is, `verify-ca` asks for a certificate by an authority of
//! `sslrootcert`, `verify-full` also for the server's name in it. As with libpq, `require` with an
//! `sslrootcert` is `verify-ca`, and a Unix socket has no TLS.
//!
//! Stricter than libpq where that is safer: nothing is read from a home folder, a failed handshake
//! under `prefer` is an error and never a plain connection, and an `sslrootcert` without a mode that
//! verifies is refused. A name counts only in the certificate's `subjectAltName`.

use std::{error::Error as StdError, io, path::PathBuf, sync::Arc};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::{
        CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls12_signature,
        verify_tls13_signature,
    },
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    server::ParsedCertificate,
};
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{percent_decoded, split_query};
use crate::primitive::database::pool::DatabaseError;

/// How much of the server is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Disable,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

/// Whose signature counts.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Authority {
    /// `sslrootcert=system`: those that this machine trusts.
    System,
    File(PathBuf),
}

/// What an address asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    mode: Mode,
    authority: Option<Authority>,
    /// The client's certificate and its key.
    client: Option<(PathBuf, PathBuf)>,
}

/// How the connections of a run, and their cancel requests, are encrypted. Clones share it.
#[derive(Clone)]
pub(super) struct Tls {
    asked: Arc<Asked>,
    connector: MakeRustlsConnect,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.asked.fmt(formatter)
    }
}

/// Takes the words of TLS out of an address.
pub(super) fn take(address: &str) -> Result<(String, Asked), DatabaseError> {
    let (plain, query) = split_query(address);
    let (mut mode, mut root, mut certificate, mut key) = (None, None, None, None);
    let mut kept = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (word, value) = pair.split_once('=').unwrap_or((pair, ""));
        let place = match word {
            "sslmode" => &mut mode,
            "sslrootcert" => &mut root,
            "sslcert" => &mut certificate,
            "sslkey" => &mut key,
            _ => {
                kept.push(pair);
                continue;
            }
        };
        // An empty value is none, as in libpq.
        *place = Some(percent_decoded(word, value)?).filter(|value| !value.is_empty());
    }
    let rest =
        if kept.is_empty() { plain.to_owned() } else { format!("{plain}?{}", kept.join("&")) };
    let authority = root.map(|value| match value.as_str() {
        "system" => Authority::System,
        _ => Authority::File(value.into()),
    });
    let mode = mode.as_deref().map(Mode::read).transpose()?;
    let client = match (certificate, key) {
        (Some(certificate), Some(key)) => Some((certificate.into(), key.into())),
        (None, None) => None,
        (Some(file), None) => return Err(half("sslcert", &file, "sslkey")),
        (None, Some(file)) => return Err(half("sslkey", &file, "sslcert")),
    };
    Ok((rest, Asked { mode: effective(mode, authority.as_ref())?, authority, client }))
}

fn half(given: &str, file: &str, missing: &str) -> DatabaseError {
    DatabaseError(format!(
        "{given}={file} without {missing}: a client proves who it is with a certificate and its key; \
         add {missing}=FILE"
    ))
}

/// The mode that is meant, once the authority is known.
fn effective(mode: Option<Mode>, authority: Option<&Authority>) -> Result<Mode, DatabaseError> {
    match (mode, authority) {
        (None, Some(Authority::System)) => Ok(Mode::VerifyFull),
        (Some(mode @ (Mode::Prefer | Mode::Require | Mode::VerifyCa)), Some(Authority::System)) => {
            // Anyone has a certificate by one of those.
            Err(DatabaseError(format!(
                "sslmode={} with sslrootcert=system would believe any server: use sslmode=verify-full",
                mode.word()
            )))
        }
        (Some(Mode::Require), Some(Authority::File(_))) => Ok(Mode::VerifyCa),
        (None | Some(Mode::Prefer), Some(Authority::File(file))) => Err(DatabaseError(format!(
            "sslrootcert={} verifies nothing with sslmode=prefer, the default: use \
             sslmode=verify-full",
            file.display()
        ))),
        (Some(mode @ (Mode::VerifyCa | Mode::VerifyFull)), None) => Err(DatabaseError(format!(
            "sslmode={} needs the authority that the server's certificate is signed by: add \
             sslrootcert=FILE, or sslrootcert=system for those that this machine trusts",
            mode.word()
        ))),
        (mode, _) => Ok(mode.unwrap_or(Mode::Prefer)),
    }
}

impl Mode {
    const ALL: [Self; 5] =
        [Self::Disable, Self::Prefer, Self::Require, Self::VerifyCa, Self::VerifyFull];

    fn word(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        }
    }

    fn read(word: &str) -> Result<Self, DatabaseError> {
        Self::ALL.into_iter().find(|mode| mode.word() == word).ok_or_else(|| {
            DatabaseError(format!(
                "sslmode={word} is not known: use {}",
                Self::ALL.map(Self::word).join(", ")
            ))
        })
    }
}

impl Tls {
    /// Reads the certificates.
    pub(super) fn new(asked: Asked) -> Result<Self, DatabaseError> {
        let provider = Arc::new(ring::default_provider());
        let algorithms = provider.signature_verification_algorithms;
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| DatabaseError(format!("TLS cannot be set up: {error}")))?
            .dangerous()
            .with_custom_certificate_verifier(asked.verifier(&provider, algorithms)?);
        let mut config = match &asked.client {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = certificates("sslcert", certificate)?;
                let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| {
                    DatabaseError(format!(
                        "sslkey={} cannot be read: {error}; name a PEM file with the key of the \
                         client's certificate, without a passphrase",
                        key.display()
                    ))
                })?;
                builder.with_client_auth_cert(chain, secret).map_err(|error| {
                    DatabaseError(format!(
                        "sslcert={} and sslkey={} cannot be used together: {error}; name a \
                         certificate and its own key",
                        certificate.display(),
                        key.display()
                    ))
                })?
            }
        };
        // `sslnegotiation=direct` is answered only with it.
        config.alpn_protocols = vec![b"postgresql".to_vec()];
        Ok(Self { asked: Arc::new(asked), connector: MakeRustlsConnect::new(config) })
    }

    /// What the driver is told: verifying is done here.
    pub(super) fn driver_mode(&self) -> SslMode {
        match self.asked.mode {
            Mode::Disable => SslMode::Disable,
            Mode::Prefer => SslMode::Prefer,
            Mode::Require | Mode::VerifyCa | Mode::VerifyFull => SslMode::Require,
        }
    }

    /// For a connection, or for cancelling what runs on one.
    pub(super) fn connector(&self) -> MakeRustlsConnect {
        self.connector.clone()
    }

    /// What went wrong and what to do, if it is about TLS.
    pub(super) fn explain(&self, error: &tokio_postgres::Error) -> Option<String> {
        let (mode, cause) = (self.asked.mode.word(), error.source()?);
        if cause.to_string() == "server does not support TLS" {
            return Some(format!(
                "the server does not speak TLS, which sslmode={mode} asks for; set ssl = on in its \
                 postgresql.conf, or use sslmode=disable"
            ));
        }
        let cause =
            cause.downcast_ref::<io::Error>()?.get_ref()?.downcast_ref::<rustls::Error>()?;
        let rustls::Error::InvalidCertificate(why) = cause else {
            return Some(format!("TLS failed: {cause}; the server's log says more"));
        };
        let told = match why {
            CertificateError::UnknownIssuer => format!(
                "its certificate is not trusted: it is not signed by an authority of sslrootcert={}; \
                 name the file of the one that signed it",
                self.asked.shown_authority()
            ),
            CertificateError::NotValidForName
            | CertificateError::NotValidForNameContext { .. } => format!(
                "its certificate is not for the name in the address ({why}); use a name of its \
                 subjectAltName, or sslmode=verify-ca"
            ),
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                format!("its certificate is not trusted: {why}; renew it on the server")
            }
            _ if why.to_string().contains("CaUsedAsEndEntity") => {
                "its certificate is not trusted: it is an authority's own (CA:TRUE); give the server \
                 one that this authority signed"
                    .to_owned()
            }
            _ => format!("its certificate is not trusted: {why}; sslmode={mode} asks for a valid one"),
        };
        Some(told)
    }
}

impl Asked {
    fn shown_authority(&self) -> String {
        match &self.authority {
            Some(Authority::File(file)) => file.display().to_string(),
            Some(Authority::System) => "system".to_owned(),
            None => "none".to_owned(),
        }
    }

    /// Who looks at the server's certificate.
    fn verifier(
        &self,
        provider: &Arc<CryptoProvider>,
        algorithms: WebPkiSupportedAlgorithms,
    ) -> Result<Arc<dyn ServerCertVerifier>, DatabaseError> {
        let roots = match (self.mode, &self.authority) {
            (Mode::VerifyCa | Mode::VerifyFull, Some(authority)) => Some(authority.roots()?),
            _ => None,
        };
        match roots {
            Some(roots) if self.mode == Mode::VerifyFull => {
                let verifier =
                    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone());
                let verifier = verifier
                    .build()
                    .map_err(|error| DatabaseError(format!("TLS cannot be set up: {error}")))?;
                Ok(verifier)
            }
            roots => Ok(Arc::new(Nameless { roots, algorithms })),
        }
    }
}

impl Authority {
    fn roots(&self) -> Result<RootCertStore, DatabaseError> {
        let mut roots = RootCertStore::empty();
        match self {
            Self::File(file) => {
                for certificate in certificates("sslrootcert", file)? {
                    roots.add(certificate).map_err(|error| {
                        DatabaseError(format!(
                            "sslrootcert={} holds no certificate of an authority: {error}",
                            file.display()
                        ))
                    })?;
                }
            }
            Self::System => {
                let found = rustls_native_certs::load_native_certs();
                roots.add_parsable_certificates(found.certs);
                if roots.is_empty() {
                    return Err(DatabaseError(
                        "sslrootcert=system: this machine has no trusted authorities; install \
                         ca-certificates, or name a file with sslrootcert=FILE"
                            .to_owned(),
                    ));
                }
            }
        }
        Ok(roots)
    }
}

/// The certificates of a PEM file, at least one.
fn certificates(word: &str, file: &PathBuf) -> Result<Vec<CertificateDer<'static>>, DatabaseError> {
    let unreadable = |why: String| {
        DatabaseError(format!(
            "{word}={} cannot be read: {why}; name a file with certificates in PEM",
            file.display()
        ))
    };
    let bytes = std::fs::read(file).map_err(|error| unreadable(error.to_string()))?;
    let found = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| unreadable(error.to_string()))?;
    if found.is_empty() { Err(unreadable("no certificate is in it".to_owned())) } else { Ok(found) }
}

/// Does not look at the name: `verify-ca`, and without roots `require` and `prefer`, which believe
/// any server. That the server has the key of its certificate is checked all the same.
#[derive(Debug)]
struct Nameless {
    roots: Option<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Nameless {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if let Some(roots) = &self.roots {
            verify_server_cert_signed_by_trust_anchor(
                &ParsedCertificate::try_from(end_entity)?,
                roots,
                intermediates,
                now,
                self.algorithms.all,
            )?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(query: &str) -> Result<Asked, String> {
        take(&format!("postgres://me:hunter2@h/d?{query}"))
            .map(|(_, asked)| asked)
            .map_err(|error| error.0)
    }

    #[test]
    fn the_words_are_taken_out_and_the_rest_is_left() {
        let (rest, asked) = take(
            "postgres://me:pass?word@h/d?sslmode=verify-ca&connect_timeout=3&sslrootcert=%2Fa%20b&\
             sslcert=c&sslkey=k&options=-c%20x",
        )
        .unwrap();
        assert_eq!(rest, "postgres://me:pass?word@h/d?connect_timeout=3&options=-c%20x");
        assert_eq!(asked.mode, Mode::VerifyCa);
        assert_eq!(asked.authority, Some(Authority::File("/a b".into())));
        assert_eq!(asked.client, Some(("c".into(), "k".into())));
        let (rest, asked) = take("postgres://h/d?sslmode=require&sslcert=").unwrap();
        assert_eq!((rest.as_str(), asked.client), ("postgres://h/d", None));
    }

    #[test]
    fn modes_mean_what_they_mean_to_libpq() {
        let mode = |query: &str| asked(query).unwrap().mode;
        assert_eq!(mode(""), Mode::Prefer);
        assert_eq!(mode("sslmode=require"), Mode::Require);
        assert_eq!(mode("sslmode=require&sslrootcert=f"), Mode::VerifyCa);
        assert_eq!(mode("sslrootcert=system"), Mode::VerifyFull);
        assert_eq!(mode("sslmode=disable&sslrootcert=f"), Mode::Disable);
    }

    #[test]
    fn what_would_verify_less_than_it_says_is_refused_with_the_next_step() {
        for (query, words) in [
            ("sslmode=allow", ["sslmode=allow", "verify-full"]),
            ("sslmode=verify-full", ["sslmode=verify-full", "sslrootcert=system"]),
            ("sslrootcert=f", ["sslrootcert=f", "sslmode=verify-full"]),
            ("sslmode=verify-ca&sslrootcert=system", ["sslmode=verify-ca", "sslmode=verify-full"]),
            ("sslcert=c", ["sslcert=c", "add sslkey=FILE"]),
            ("sslkey=k", ["sslkey=k", "add sslcert=FILE"]),
            ("sslrootcert=%zz", ["sslrootcert", "%25"]),
        ] {
            let message = asked(query).unwrap_err();
            assert!(words.iter().all(|word| message.contains(word)), "{query}: {message}");
            assert!(!message.contains("hunter2"), "{message}");
        }
    }

    #[test]
    fn a_file_that_is_no_certificate_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("notes.txt");
        std::fs::write(&file, "no certificate").unwrap();
        let file = file.display().to_string();
        for (query, words) in [
            (
                format!("sslmode=verify-full&sslrootcert={file}"),
                ["sslrootcert=", "no certificate is"],
            ),
            (
                "sslmode=verify-full&sslrootcert=/nowhere.pem".into(),
                ["/nowhere.pem", "No such file"],
            ),
            (format!("sslcert={file}&sslkey={file}"), ["sslcert=", "no certificate is"]),
        ] {
            let message = Tls::new(asked(&query).unwrap()).unwrap_err().0;
            assert!(words.iter().all(|word| message.contains(word)), "{query}: {message}");
        }
    }
}
