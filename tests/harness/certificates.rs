//! Certificates for the servers of tests, made with the openssl command: an authority, and what it
//! signed.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// Keys that are made in no time.
const KEY: &str = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";

/// Makes an authority, `<name>.pem` and `<name>.key`; returns the certificate's path.
///
/// # Panics
/// When there is no openssl: tests/run installs it.
pub fn authority(folder: &Path, name: &str) -> PathBuf {
    let files = format!("-keyout {name}.key -out {name}.pem");
    openssl(folder, &format!("req -x509 {KEY} {files} -subj /CN={name} -days 2"));
    folder.join(format!("{name}.pem"))
}

/// Makes `<name>.pem` and `<name>.key`, signed by an authority of the folder, for a name as
/// `subjectAltName` writes it (`IP:127.0.0.1`).
///
/// # Panics
/// When there is no such authority.
pub fn signed(folder: &Path, authority: &str, name: &str, bears: &str) {
    std::fs::write(folder.join("san"), format!("subjectAltName={bears}\n")).expect("a file");
    openssl(folder, &format!("req {KEY} -keyout {name}.key -out {name}.csr -subj /CN={name}"));
    let by = format!("-CA {authority}.pem -CAkey {authority}.key -CAcreateserial");
    let files = format!("-in {name}.csr -out {name}.pem");
    openssl(folder, &format!("x509 -req {files} {by} -days 2 -extfile san"));
}

fn openssl(folder: &Path, arguments: &str) {
    let arguments = arguments.split_whitespace();
    let made = Command::new("openssl").args(arguments).current_dir(folder).output();
    let made = made.expect("openssl runs: tests/run installs it");
    assert!(made.status.success(), "openssl: {}", String::from_utf8_lossy(&made.stderr));
}
