use std::collections::BTreeMap;
use std::io::{Cursor, Read as _, Write as _};

use base64::Engine as _;
use spark_bus_schema::Timestamp;

use super::{About, Bundle, Error, MANIFEST, Secrets, Wrong, hash, verify};
use crate::history::Window;

const SECRET: &str = "recognisable\"secret-7f3a";

fn about() -> About {
    About {
        created_at: Timestamp::ZERO,
        created_by: "operator".into(),
        window: Window { from: Timestamp::ZERO, to: Timestamp::ZERO },
        versions: BTreeMap::from([("spark".into(), "0.1.0".into())]),
        build_sha: "unknown".into(),
        ledger: None,
    }
}

fn bundle() -> Bundle {
    let mut bundle = Bundle::default();
    bundle.add("report/report.md", "# Report\n").unwrap();
    bundle.add("metrics.prom", "spark_up 1\n".repeat(40)).unwrap();
    bundle.missing("charts", "no history");
    bundle
}

fn file() -> Vec<u8> {
    bundle().seal(about(), &Secrets::default()).unwrap().bytes
}

#[test]
fn a_file_is_as_it_was_written_and_the_same_content_gives_the_same_bytes() {
    let sealed = bundle().seal(about(), &Secrets::default()).unwrap();
    assert_eq!(sealed.bytes, file());
    let found = verify(&sealed.bytes).unwrap();
    assert_eq!((found.good, found.wrong, found.sha256), (2, vec![], hash(&sealed.bytes)));
    assert_eq!(found.manifest.unwrap(), sealed.manifest);
    let names: Vec<&str> = sealed.manifest.entries.iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!(names, ["metrics.prom", "report/report.md"]);
    assert_eq!((sealed.manifest.entries[1].bytes, sealed.manifest.entries[1].sha256.as_str()), (9, hash(b"# Report\n").as_str()));
    assert_eq!(sealed.manifest.missing[0].why, "no history");
}

#[test]
fn every_changed_byte_is_found() {
    let file = file();
    for index in 0..file.len() {
        let mut changed = file.clone();
        changed[index] ^= 0x20;
        let found = verify(&changed);
        assert!(found.is_err() || found.is_ok_and(|found| !found.wrong.is_empty()), "byte {index} of {}", file.len());
    }
    for length in 0..file.len() {
        let found = verify(&file[..length]);
        assert!(found.is_err() || found.is_ok_and(|found| !found.wrong.is_empty()), "cut to {length}");
    }
}

/// The archive written anew by another hand, without a seal.
fn rewritten(change: impl Fn(&str, Vec<u8>) -> Option<Vec<u8>>, added: &[&str]) -> Vec<u8> {
    let file = file();
    let mut from = zip::ZipArchive::new(Cursor::new(&file)).unwrap();
    let mut to = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default();
    for index in 0..from.len() {
        let mut entry = from.by_index(index).unwrap();
        let name = String::from_utf8(entry.name_raw().to_vec()).unwrap();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        if let Some(bytes) = change(&name, bytes) {
            to.start_file(name, options).unwrap();
            to.write_all(&bytes).unwrap();
        }
    }
    for name in added {
        to.start_file(*name, options).unwrap();
    }
    to.finish().unwrap().into_inner()
}

#[test]
fn what_another_hand_changed_is_named() {
    let keep = |_: &str, bytes: Vec<u8>| Some(bytes);
    let check = |file: Vec<u8>, want: &[Wrong]| assert_eq!(verify(&file).unwrap().wrong, want);
    check(rewritten(keep, &[]), &[Wrong::Seal]);
    check(rewritten(keep, &["extra"]), &[Wrong::Seal, Wrong::Added("extra".into())]);
    let shorter = |name: &str, bytes: Vec<u8>| Some(if name == "metrics.prom" { bytes[1..].to_vec() } else { bytes });
    check(rewritten(shorter, &[]), &[Wrong::Seal, Wrong::Changed("metrics.prom".into())]);
    let without = |name: &str, bytes| (name != "metrics.prom").then_some(bytes);
    check(rewritten(without, &[]), &[Wrong::Seal, Wrong::Gone("metrics.prom".into())]);
}

#[test]
fn what_is_no_such_file_is_said_to_be_none() {
    let said = |file: &[u8]| verify(file).unwrap_err().to_string();
    assert!(said(b"hello").contains("no ZIP"), "{}", said(b"hello"));
    let no_manifest = rewritten(|name, bytes| (name != MANIFEST).then_some(bytes), &[]);
    assert!(said(&no_manifest).contains("no manifest.json"), "{}", said(&no_manifest));
}

#[test]
fn a_secret_in_any_form_anywhere_is_refused_and_not_repeated() {
    let mut secrets = Secrets::default();
    assert!(secrets.add("environment SPARK_TEST_KEY", SECRET));
    assert!(!secrets.add("environment SHORT", "1234567"));
    let encoded = base64::engine::general_purpose::STANDARD.encode(SECRET);
    let forms = [SECRET.to_owned(), serde_json::json!({"a": SECRET}).to_string(), hex::encode(SECRET), format!("x {encoded}")];
    for (index, form) in forms.iter().enumerate() {
        let mut bundle = bundle();
        bundle.add("ledger.jsonl", format!("{{}}\n{form}")).unwrap();
        let error = bundle.seal(about(), &secrets).map(|_| ()).unwrap_err();
        let told = error.to_string();
        assert!(
            matches!(&error, Error::Secret { entry, secret, .. } if entry == "ledger.jsonl" && secret.ends_with("SPARK_TEST_KEY")),
            "{index} {told}"
        );
        assert!(!forms.iter().any(|form| told.contains(form)), "{told}");
    }
    let mut told = bundle();
    told.missing("metrics.prom", format!("http://user:{SECRET}@host does not answer"));
    assert!(matches!(told.seal(about(), &secrets), Err(Error::Secret { entry, .. }) if entry == MANIFEST));
    assert!(bundle().seal(about(), &secrets).is_ok());
}

#[test]
fn of_a_file_with_several_lines_each_is_a_secret_but_not_the_dashes() {
    let mut secrets = Secrets::default();
    secrets.add(
        "nats.creds",
        "-----BEGIN NATS USER JWT-----\neyJ0eXAiOiJKV1QifQ\n------END NATS USER JWT------\n\nSUAOMETHINGLONG\n",
    );
    assert_eq!(secrets.find(b"-----BEGIN NATS USER JWT-----"), None);
    assert_eq!(secrets.find(b"seed SUAOMETHINGLONG."), Some(("nats.creds", 5)));
    assert_eq!(secrets.find(b"eyJ0eXAiOiJKV1QifQ"), Some(("nats.creds", 0)));
}

#[test]
fn names_that_leave_the_folder_are_refused() {
    for name in ["../x", "/x", "a//b", "", "a b", MANIFEST, "a/../b"] {
        assert!(matches!(Bundle::default().add(name, ""), Err(Error::Name { .. })), "{name}");
    }
}
