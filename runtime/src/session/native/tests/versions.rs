//! Two builds, each of its own range of versions.

use ringmain_core::wire::version::Apart;

use super::*;

/// All ranges within versions 1 to 4.
fn ranges() -> impl Iterator<Item = Versions> + Clone {
    (1..=4).flat_map(|oldest| (oldest..=4).map(move |newest| Versions { oldest, newest }))
}

#[test]
fn two_nodes_of_any_builds_agree_or_each_says_why_they_part() {
    let (mut agreed, mut parted) = (0, 0);
    for (ours, theirs) in ranges().flat_map(|one| ranges().map(move |other| (one, other))) {
        let from = End { versions: ours, ..End::member(1) };
        let to = End { versions: theirs, ..End::member(2) };
        let ended = shake(&from, &to, call(), true, 60);
        let Some(common) = ours.agree(theirs) else {
            let told = Apart { own: theirs, other: ours };
            assert_eq!(ended.accepted, Step::Apart(NodeId(1), told));
            let told = DialError::Apart(Apart { own: ours, other: theirs });
            assert_eq!(ended.dialed, dialer::Step::Failed(told));
            assert!(told.to_string().contains(&theirs.to_string()), "{told}");
            parted += 1;
            continue;
        };
        let Step::Accepted(Accepted::Peer { version, versions, .. }) = ended.accepted else {
            panic!("{ended:?}")
        };
        assert_eq!((version, versions), (common, ours));
        let dialer::Step::Dialed(dialed) = ended.dialed else { panic!("{ended:?}") };
        assert_eq!(dialed.version, common);
        // All of it says version 1, whatever follows.
        for sent in [&ended.dialer_sent, &ended.acceptor_sent] {
            let mut reader = FrameReader::<Software>::new(1000);
            let flow = reader.feed(sent, |frame| {
                assert!(frame.op().is_handshake() && frame.version() == 1);
                ControlFlow::Continue(())
            });
            flow.unwrap();
        }
        agreed += 1;
    }
    assert!(agreed > 40 && parted > 10, "{agreed} agreed, {parted} parted");
}

#[test]
fn a_client_of_any_build_is_answered_or_told_why_not() {
    for (ours, theirs) in ranges().flat_map(|one| ranges().map(move |other| (one, other))) {
        let end = End { versions: ours, ..End::member(2) };
        let (version_min, version_max) = (theirs.oldest, theirs.newest);
        let hello = frame_of(Op::Hello, &Hello { version_min, version_max, ..client() });
        let mut out = Vec::new();
        let received =
            Acceptor::<Software>::new([2; 16], true).receive(&end.local(), &hello, &mut out);
        match (received.step, ours.agree(theirs)) {
            (Step::Accepted(Accepted::Client { version, .. }), Some(common)) => {
                assert_eq!(version, common);
            }
            (Step::Apart(NodeId(0), apart), None) => {
                assert_eq!(apart, Apart { own: ours, other: theirs });
                let refused = one(&out, |_, message| match message {
                    Message::Refused(refused) => refused,
                    other => panic!("{other:?}"),
                });
                assert_eq!(refused.reason, Reason::UnknownVersion);
                assert_eq!(refused.versions(), Ok(ours));
            }
            (step, common) => panic!("{ours} and {theirs}: {step:?}, {common:?}"),
        }
    }
}

/// By the bytes alone: a node of the version past this build's next meets this build.
#[test]
fn a_node_of_an_unknown_version_is_refused_with_a_line_at_both_ends() {
    let future = Versions { oldest: VERSION + 1, newest: VERSION + 2 };
    let (now, later) = (End::member(1), End { versions: future, ..End::member(2) });
    let ours = Versions::OWN;
    let ended = shake(&later, &End::member(2), Call { node: Some(NodeId(2)), ..call() }, true, 9);
    // It dialed itself, but the versions come first.
    assert!(matches!(ended.accepted, Step::Apart(NodeId(2), _)));
    let ended = shake(&now, &later, call(), true, 9);
    let Step::Apart(NodeId(1), apart) = ended.accepted else { panic!("{ended:?}") };
    let there = format!(
        "it speaks {ours} of the wire protocol and this build {future}: upgrade it, first to a \
         build that speaks version {}",
        VERSION + 1
    );
    assert_eq!(apart.to_string(), there);
    let dialer::Step::Failed(error) = ended.dialed else { panic!("{ended:?}") };
    let here = format!(
        "it speaks {future} of the wire protocol and this build {ours}: upgrade this build, first \
         to a build that speaks version {}",
        VERSION + 1
    );
    assert_eq!(error.to_string(), here);
    // The refusal, byte by byte: REFUSED, UnknownVersion, and the range.
    let sent = &ended.acceptor_sent;
    assert_eq!(sent[..8], [0xa7, 0x52, 1, 5, 16, 0, 0, 0]);
    assert_eq!(sent[40..], [1, VERSION + 1, VERSION + 2, 0, 0, 0, 0, 0]);
}
