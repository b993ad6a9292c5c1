//! Components in registries: there and back, found by a suite, from a registry that lies, and signed.

use std::{
    fs,
    path::Path,
    process::Command,
    sync::{Arc, Mutex},
};

use wavetank::{digest::digest, workload::component::Provenance};
use wavetank_tests::{
    command::{Ran, Workplace},
    guests::guest,
    registry::{LOGIN, Registry, canned},
};

use crate::WAVETANK;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn component(workplace: &Workplace) -> Vec<u8> {
    let bytes = fs::read(guest("stats-queries")).unwrap();
    workplace.file("stats_queries.wasm", &bytes);
    bytes
}

/// A section that means nothing: another file all the same.
fn other(bytes: &[u8]) -> Vec<u8> {
    [bytes, &[0, 2, 1, b'x']].concat()
}

#[test]
fn a_component_goes_there_and_comes_back_byte_for_byte() {
    let registry = Registry::start();
    let workplace = Workplace::new(WAVETANK);
    let bytes = component(&workplace);
    let place = format!("{}/plugins/stats-queries:0.1.0", registry.host);
    let push = |flags: &[&str]| {
        let all = [&["plugin", "push", "stats_queries.wasm", &place], flags].concat();
        workplace.run(&all)
    };
    let pushed = push(&["--revision", "0123abcd", "--source", "https://example.org/tank"]);
    pushed.assert_says(0, &["stats-queries 0.1.0", &digest(&bytes)]);
    let (named, manifest) = pushed.stdout.trim().split_once('@').unwrap();
    assert_eq!(named, place);
    let again = push(&["--revision", "0123abcd", "--source", "https://example.org/tank"]);
    assert_eq!(again.stdout, pushed.stdout, "the same is the same, whenever it is pushed");

    let text = registry.get(&format!("/v2/plugins/stats-queries/manifests/{manifest}"), MANIFEST);
    assert_eq!(digest(text.as_bytes()), manifest);
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["config"]["mediaType"], "application/vnd.wasm.config.v0+json");
    assert_eq!(value["layers"][0]["mediaType"], "application/wasm");
    assert_eq!(value["layers"][0]["digest"], digest(&bytes));
    let told = &value["annotations"];
    assert_eq!(told["org.opencontainers.image.revision"], "0123abcd");
    assert_eq!(told["org.opencontainers.image.source"], "https://example.org/tank");
    assert_eq!(told["org.opencontainers.image.title"], "stats-queries");
    assert_eq!(told["org.opencontainers.image.version"], "0.1.0");

    // What it says of itself is said of it, where nobody says otherwise.
    let known = Provenance {
        description: Some("Asks".to_owned()),
        source: Some("https://example.org/own".to_owned()),
        ..Provenance::default()
    };
    workplace.file("known.wasm", known.write(&bytes));
    let own = format!("{}/plugins/known:1", registry.host);
    workplace.run(&["plugin", "push", "known.wasm", &own]).assert_says(0, &[]);
    let text = registry.get("/v2/plugins/known/manifests/1", MANIFEST);
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let told = &value["annotations"];
    assert_eq!(told["org.opencontainers.image.description"], "Asks");
    assert_eq!(told["org.opencontainers.image.source"], "https://example.org/own");

    let by_digest = format!("oci://{}/plugins/stats-queries@{manifest}", registry.host);
    for (from, to) in [(&place, "one.wasm"), (&by_digest, "two.wasm")] {
        let pulled = workplace.run(&["plugin", "pull", from, "--to", to]);
        pulled.assert_says(0, &[to, &digest(&bytes), manifest]);
        assert!(fs::read(workplace.path().join(to)).unwrap() == bytes);
    }
    let absent = format!("{}/plugins/nothing:1", registry.host);
    workplace.run(&["plugin", "pull", &absent]).assert_says(104, &["404", "NAME:TAG"]);
    let nobody = workplace.run(&["plugin", "pull", "127.0.0.1:1/nothing:1"]);
    nobody.assert_says(104, &["`127.0.0.1:1` cannot be asked"]);
    workplace.run(&["plugin", "pull", "nothing"]).assert_says(104, &["no place in a registry"]);
    let script = workplace.file("a.rhai", "fn iteration(ctx) {}");
    workplace.run(&["plugin", "push", &script, &place]).assert_says(104, &["is a script"]);
}

#[test]
fn a_commit_is_named_only_if_nothing_changed_since() {
    let registry = Registry::start();
    let workplace = Workplace::new(WAVETANK);
    component(&workplace);
    let git = |arguments: &[&str]| {
        let mut command = Command::new("git");
        command.args(["-c", "user.name=a", "-c", "user.email=a@example.org"]).args(arguments);
        let output = command.current_dir(workplace.path()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    git(&["init", "--quiet"]);
    workplace.file(".gitignore", "*\n");
    git(&["add", "--force", ".gitignore"]);
    git(&["commit", "--quiet", "--message", "first"]);
    let commit = git(&["rev-parse", "HEAD"]);
    let push = |tag: &str| {
        let place = format!("{}/tank:{tag}", registry.host);
        let ran = workplace.run(&["plugin", "push", "stats_queries.wasm", &place]);
        ran.assert_says(0, &[]);
        (ran, registry.get(&format!("/v2/tank/manifests/{tag}"), MANIFEST))
    };
    let (_, told) = push("one");
    assert!(told.contains(&commit), "{told}");
    workplace.file(".gitignore", "*\n#\n");
    let (ran, told) = push("two");
    assert!(!told.contains("image.revision"), "{told}");
    ran.assert_says(0, &["no commit is named", "--revision"]);
}

const SUITE: &str = r#"
name = "asks"
plugins = "plugins"

[services.database]
workload = "plugin:rosey-database"
grants = { subscribe = ["rosey.>"], database = "write" }

[[workloads]]
workload = "oci://REGISTRY/plugins/stats-queries:0.1.0"
parameters = { players = 10 }
grants = { bus = ["rosey.>"] }
"#;

#[test]
fn a_suite_runs_what_was_locked_whatever_became_of_the_tag() {
    let registry = Registry::start();
    let workplace = Workplace::new(WAVETANK);
    let bytes = component(&workplace);
    let place = format!("{}/plugins/stats-queries:0.1.0", registry.host);
    let push = || workplace.run(&["plugin", "push", "stats_queries.wasm", &place]);
    push().assert_says(0, &[]);
    workplace.file("asks.toml", SUITE.replace("REGISTRY", &registry.host));
    workplace.file("plugins/rosey_database.wasm", fs::read(guest("rosey-database")).unwrap());
    let locked = workplace.run(&["plugin", "lock", "asks.toml"]);
    locked.assert_says(0, &[&format!("oci://{place} {}", digest(&bytes))]);
    let run = || workplace.run_workload(&["asks.toml", "--locked", "--quick"]);
    let good = |ran: &Ran| {
        assert!(matches!(ran.code, 0 | 99 | 111 | 117), "it runs, however it is judged: {ran:#?}");
        let workload = &ran.summary.as_ref().unwrap()["run"]["workloads"][0];
        assert_eq!(workload["digest"], digest(&bytes), "{workload}");
        assert_eq!(workload["name"], "stats-queries", "{workload}");
    };
    good(&run());

    // The tag moves. What was locked is still at hand; where it is not, what is there now is refused.
    workplace.file("stats_queries.wasm", other(&bytes));
    push().assert_says(0, &[]);
    good(&run());
    let pulled = workplace.path().join(".cache/wavetank/pulled");
    let file = pulled.join(format!("{}.wasm", digest(&bytes).replace(':', "-")));
    fs::write(&file, other(&bytes)).unwrap();
    run().assert_says(114, &["is not what was locked", "plugin lock asks.toml"]);
    workplace.run(&["check", "asks.toml"]).assert_says(0, &[]);
    // It is pushed again, and whoever spoilt what lay here has spoilt nothing.
    workplace.file("stats_queries.wasm", &bytes);
    push().assert_says(0, &[]);
    good(&run());
    // A run takes nothing from a registry that it has already.
    drop(registry);
    good(&run());
    fs::remove_dir_all(&pulled).unwrap();
    run().assert_says(104, &["cannot be asked"]);
}

#[test]
fn who_has_to_log_in_does_and_nobody_reads_the_password() {
    let registry = Registry::with_login();
    let workplace = Workplace::new(WAVETANK);
    component(&workplace);
    let place = format!("{}/stats-queries:1", registry.host);
    let push = |variables: &[(&str, &str)]| {
        let mut command = workplace.command(&["plugin", "push", "stats_queries.wasm", &place]);
        command.envs(variables.iter().copied());
        let ran = workplace.finish(command.output().unwrap());
        assert!(!format!("{ran:?}").contains(LOGIN.1), "{ran:#?}");
        ran
    };
    push(&[]).assert_says(104, &["401", "log in with docker"]);
    let variables = |password| {
        [
            ("WAVETANK_REGISTRY", registry.host.as_str()),
            ("WAVETANK_REGISTRY_USER", LOGIN.0),
            ("WAVETANK_REGISTRY_PASSWORD", password),
        ]
    };
    push(&variables("other")).assert_says(104, &["401", "not good for this"]);
    push(&variables("")).assert_says(104, &["WAVETANK_REGISTRY_PASSWORD says nothing"]);
    push(&variables(LOGIN.1)).assert_says(0, &["pushed stats-queries"]);
    // Those of another registry are told to nobody else.
    let elsewhere =
        [("WAVETANK_REGISTRY", "127.0.0.1:1"), variables(LOGIN.1)[1], variables(LOGIN.1)[2]];
    push(&elsewhere).assert_says(104, &["401"]);
    let docker = format!(
        r#"{{ "auths": {{ "http://{}": {{ "username": "{}", "password": "{}" }} }} }}"#,
        registry.host, LOGIN.0, LOGIN.1
    );
    workplace.file(".docker/config.json", docker);
    push(&[]).assert_says(0, &["pushed stats-queries"]);
}

fn http(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// A manifest as it must be, and what a liar makes of it.
fn manifest(component: &str, size: usize) -> String {
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{{"mediaType":"application/vnd.wasm.config.v0+json","digest":"{0}","size":2}},"layers":[{{"mediaType":"application/wasm","digest":"{component}","size":{size}}}]}}"#,
        digest(b"{}")
    )
}

#[test]
fn a_component_that_lies_elsewhere_is_fetched_there_and_nobody_there_is_told_who_asks() {
    let bytes = b"\0asm component".to_vec();
    let (heard, kept) = (Arc::new(Mutex::new(Vec::new())), http("200 OK", "", &bytes));
    let ear = Arc::clone(&heard);
    let elsewhere = canned(move |asked| {
        ear.lock().unwrap().push(asked.to_lowercase());
        kept.clone()
    });
    let manifest = manifest(&digest(&bytes), bytes.len());
    let host = canned(move |asked| {
        if !asked.to_lowercase().contains("authorization: basic ") {
            return http("401 Unauthorized", "www-authenticate: Basic realm=\"a\"\r\n", b"");
        }
        if asked.contains("/manifests/") {
            return http("200 OK", "", manifest.as_bytes());
        }
        let onward = format!("location: http://{elsewhere}/kept?signed=yes\r\n");
        http("307 Temporary Redirect", &onward, b"")
    });
    let workplace = Workplace::new(WAVETANK);
    let mut command = workplace.command(&["plugin", "pull", &format!("{host}/a:1")]);
    command.env("WAVETANK_REGISTRY", &host).env("WAVETANK_REGISTRY_USER", LOGIN.0);
    command.env("WAVETANK_REGISTRY_PASSWORD", LOGIN.1);
    let ran = workplace.finish(command.output().unwrap());
    ran.assert_says(0, &["a.wasm", &digest(&bytes)]);
    let heard = heard.lock().unwrap();
    assert_eq!(heard.len(), 1);
    assert!(heard[0].starts_with("get /kept?signed=yes http/1.1\r\n"), "{heard:?}");
    assert!(!heard[0].contains("authorization"), "{heard:?}");
}

#[test]
fn a_registry_that_lies_is_found_out() {
    let told = |name: &str, manifest: Vec<u8>, blob: Vec<u8>| {
        let host =
            canned(
                move |asked| {
                    if asked.contains("/manifests/") { manifest.clone() } else { blob.clone() }
                },
            );
        let workplace = Workplace::new(WAVETANK);
        let place = format!("{host}/{name}");
        let ran = workplace.run(&["plugin", "pull", &place, "--to", "pulled.wasm"]);
        assert!(ran.code == 0 || !workplace.path().join("pulled.wasm").exists(), "{ran:#?}");
        ran
    };
    let bytes = b"\0asm component".to_vec();
    let good = manifest(&digest(&bytes), bytes.len());
    let ok = |body: &[u8]| http("200 OK", "", body);
    told("a:1", ok(good.as_bytes()), ok(&bytes)).assert_says(0, &[&digest(&bytes)]);

    let zeros = format!("a@sha256:{}", "0".repeat(64));
    let swapped = told(&zeros, ok(good.as_bytes()), ok(&bytes));
    swapped.assert_says(114, &["is not what the registry sends", "its manifest has sha256:"]);
    for wrong in [&b"\0asm componenT"[..], b"\0asm"] {
        let ran = told("a:1", ok(good.as_bytes()), ok(wrong));
        ran.assert_says(114, &["is not what the registry sends", "its component has"]);
    }
    let longer = told("a:1", ok(good.as_bytes()), ok(&[&bytes[..], b"more"].concat()));
    longer.assert_says(104, &["sends more than 14 bytes where no more can be right"]);
    let large = ok(manifest(&digest(&bytes), 1 << 40).as_bytes());
    told("a:1", large, ok(&bytes)).assert_says(114, &["1099511627776 bytes; the limit is"]);
    let bomb = told("a:1", ok(&vec![b' '; 5 << 20]), ok(&bytes));
    bomb.assert_says(104, &["sends more than 4194304 bytes"]);
    // Without a length, and without an end but that of the connection.
    let endless = [b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![b'{'; 5 << 20]].concat();
    told("a:1", endless, ok(&bytes)).assert_says(104, &["sends more than 4194304 bytes"]);
    let image = good.replace("application/wasm", "application/vnd.oci.image.layer.v1.tar+gzip");
    let image = told("a:1", ok(image.as_bytes()), ok(&bytes));
    image.assert_says(114, &["its layer is `application/vnd.oci.image.layer", "no component"]);
    told("a:1", ok(b"[]"), ok(&bytes)).assert_says(114, &["its manifest is `nothing`"]);
    told("a:1", ok(b"\x1b[31m"), ok(&bytes)).assert_says(114, &["no JSON"]);

    let round = http("302 Found", "location: /v2/a/blobs/again\r\n", b"");
    told("a:1", ok(good.as_bytes()), round).assert_says(104, &["sends us to `/v2/a/blobs/again`"]);
    let moved = http("302 Found", "location: /v2/b/manifests/1\r\n", b"");
    told("a:1", moved, ok(&bytes)).assert_says(104, &["sends us to `/v2/b/manifests/1`"]);
    let away = http("307 Temporary Redirect", "location: https://evil.example/x?token=y\r\n", b"");
    let sent = told("a:1", ok(good.as_bytes()), away);
    sent.assert_says(104, &["sends us to `https://evil.example/x`, and nobody said that it may"]);
    let realm = "www-authenticate: Bearer realm=\"http://evil.example/token\",service=\"a\"\r\n";
    let sent = told("a:1", http("401 Unauthorized", realm, b""), ok(&bytes));
    sent.assert_says(104, &["sends us to `http://evil.example/token`"]);
    let words = br#"{"errors":[{"code":"DENIED","message":"\u001b[31mred"}]}"#;
    let denied = told("a:1", http("403 Forbidden", "", words), ok(&bytes));
    denied.assert_says(104, &["answers 403 (DENIED: "]);
    assert!(!denied.stderr.contains('\u{1b}'), "{denied:#?}");
    let headers = format!("x: {}\r\n", "y".repeat(100_000));
    let headers = told("a:1", http("200 OK", &headers, good.as_bytes()), ok(&bytes));
    headers.assert_says(104, &["cannot be asked"]);
    told("a:1", b"nonsense".to_vec(), ok(&bytes)).assert_says(104, &["cannot be asked"]);
}

/// A new key of minisign's; its public half, as text.
fn key(folder: &Path, name: &str) -> String {
    let mut command = Command::new("minisign");
    command.args(["-G", "-W", "-p", &format!("{name}.pub"), "-s", &format!("{name}.key")]);
    let output = command.current_dir(folder).output();
    let output = output.expect("minisign (`tests/run` installs it)");
    assert!(output.status.success(), "{output:?}");
    let text = fs::read_to_string(folder.join(format!("{name}.pub"))).unwrap();
    text.lines().last().unwrap().to_owned()
}

fn sign(folder: &Path, name: &str, file: &str) {
    let mut command = Command::new("minisign");
    command.args(["-S", "-s", &format!("{name}.key"), "-m", file]);
    let output = command.current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn only_what_a_trusted_key_has_signed_is_taken() {
    let workplace = Workplace::new(WAVETANK);
    let folder = workplace.path();
    let bytes = component(&workplace);
    let (ours, theirs) = (key(folder, "ours"), key(folder, "theirs"));
    let file = "stats_queries.wasm";
    let inspect = |keys: &[&str]| {
        let flags = keys.iter().flat_map(|key| ["--trust", key]).collect::<Vec<_>>();
        workplace.run(&[&["inspect", file], &flags[..]].concat())
    };
    inspect(&[]).assert_says(0, &[]);
    inspect(&[&ours]).assert_says(114, &["is not signed: no signature is beside it"]);
    sign(folder, "ours", file);
    inspect(&[&ours]).assert_says(0, &["stats-queries"]);
    inspect(&["ours.pub"]).assert_says(0, &["stats-queries"]);
    inspect(&[&theirs, &ours]).assert_says(0, &["stats-queries"]);
    inspect(&[&theirs]).assert_says(114, &["is not signed by a key that is trusted"]);
    inspect(&["nothing"]).assert_says(104, &["`nothing` is no public key"]);
    workplace.file(file, other(&bytes));
    inspect(&[&ours]).assert_says(114, &["is not signed by a key that is trusted"]);
    workplace.file(&format!("{file}.minisig"), "nonsense");
    inspect(&[&ours]).assert_says(114, &["what is beside it is none"]);

    // The signature goes along; a lock is written, and a run made, of nothing else.
    workplace.file(file, &bytes);
    sign(folder, "ours", file);
    let registry = Registry::start();
    let place = format!("{}/plugins/stats-queries:0.1.0", registry.host);
    workplace.run(&["plugin", "push", file, &place]).assert_says(0, &["signed"]);
    let pull =
        |key: &str| workplace.run(&["plugin", "pull", &place, "--to", "back.wasm", "--trust", key]);
    pull(&theirs).assert_says(114, &["is not signed by a key that is trusted"]);
    assert!(!folder.join("back.wasm").exists());
    pull(&ours).assert_says(0, &["back.wasm"]);
    assert!(folder.join("back.wasm.minisig").exists());
    workplace.file("asks.toml", SUITE.replace("REGISTRY", &registry.host));
    workplace.file("plugins/rosey_database.wasm", fs::read(guest("rosey-database")).unwrap());
    let lock = |key: &str| workplace.run(&["plugin", "lock", "asks.toml", "--trust", key]);
    lock(&ours).assert_says(114, &["rosey_database.wasm` is not signed"]);
    sign(folder, "ours", "plugins/rosey_database.wasm");
    lock(&theirs).assert_says(114, &["is not signed by a key that is trusted"]);
    lock(&ours).assert_says(0, &["locked in"]);
    let run =
        |key: &str| workplace.run_workload(&["asks.toml", "--locked", "--quick", "--trust", key]);
    run(&theirs).assert_says(114, &["is not signed by a key that is trusted"]);
    let ran = run(&ours);
    assert!(matches!(ran.code, 0 | 99 | 111 | 117), "it runs, however it is judged: {ran:#?}");
}
