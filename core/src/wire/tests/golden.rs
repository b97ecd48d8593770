//! The bytes of every sample, as `golden.py` made them from the table, sharing no code with it.

use std::string::String;

use super::*;

/// The bytes that `golden.txt` has under `name`.
pub(super) fn golden(name: &str) -> Vec<u8> {
    let mut lines = include_str!("golden.txt").lines();
    lines.find(|line| *line == name).expect("the file has every sample");
    let hex: String = lines.take_while(|line| line.starts_with("  ")).map(str::trim).collect();
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("the file holds hex");
    (0..hex.len()).step_by(2).map(byte).collect()
}

#[test]
fn samples_are_written_as_golden() {
    for (name, key, message) in samples() {
        assert_eq!(encode(key, &message), golden(name), "{name}");
    }
}

#[test]
fn golden_reads_as_samples() {
    for (name, key, message) in samples() {
        let bytes = golden(name);
        let frame = parse(&bytes).expect(name);
        assert_eq!(frame.hop(), &hop(message.op()), "{name}");
        assert_eq!(frame.key(), key, "{name}");
        assert_eq!(Message::new_checked(&frame), Ok(message), "{name}");
        assert!(frame.is_of(0x2122_2324_2526_2728));
        assert!(!frame.is_of(0));
        assert_eq!(frame.body().bytes(), &bytes[32..]);
    }
}

#[test]
fn every_golden_frame_is_a_sample() {
    let names = include_str!("golden.txt").lines().filter(|line| !line.starts_with(' '));
    let frames = names.filter(|name| !name.starts_with("place_") && !name.starts_with("key_"));
    let handshake = ["proof_dialer", "proof_acceptor"];
    let frames = frames.filter(|name| !handshake.contains(name));
    assert_eq!(frames.count(), samples().len());
}
