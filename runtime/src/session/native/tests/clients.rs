//! The blocking client against the acceptor, over real sockets.

use ringmain_core::wire::admin::AdminReply;
use ringmain_core::wire::reply::Status;

use super::*;
use crate::client::{Client, ClientError};
use crate::session::native::frames::{CLIENT_FRAME_BYTES_MAX, FrameReader};

const LONG: Duration = Duration::from_secs(600);

/// Serves one client until it hangs up or is refused: answers PROOF as it must be, and any
/// other request with `{}`. Joins with whether the client proved the secret.
fn serve(end: End) -> (SocketAddr, JoinHandle<Result<bool, Reason>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let thread = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut acceptor = Some(Acceptor::<Software>::new([2; 16], true));
        let mut reader = FrameReader::<Software>::new(CLIENT_FRAME_BYTES_MAX);
        let (mut known, mut proved, mut piece) = (None, Ok(false), [0; 99]);
        loop {
            let count = stream.read(&mut piece).unwrap();
            let (mut bytes, mut out) = (&piece[..count], Vec::new());
            if let Some(opening) = &mut acceptor {
                let received = opening.receive(&end.local(), bytes, &mut out);
                bytes = &bytes[received.consumed..];
                match received.step {
                    Step::Accepted(Accepted::Client { challenge, .. }) => {
                        known = Some(challenge);
                    }
                    Step::Refused(reason) => proved = Err(reason),
                    step => assert_eq!(step, Step::Wait),
                }
            }
            if let Some(challenge) = &known {
                acceptor = None;
                let read = reader.feed(bytes, |frame| {
                    if frame.op() == Op::Proof {
                        let verified =
                            answer_proof::<Software>(&end.local(), challenge, &frame, &mut out);
                        proved = verified.map(|()| true);
                    } else {
                        let hop = end.local().hop(Op::AdminReply, frame.hop().request);
                        let answer = AdminReply { status: Status::Ok, text: "{}" };
                        append_frame::<Software>(&mut out, &hop, &answer);
                    }
                    ControlFlow::Continue(())
                });
                read.unwrap();
            }
            stream.write_all(&out).unwrap();
            if count == 0 || proved.is_err() {
                return proved;
            }
        }
    });
    (address, thread)
}

fn node() -> End {
    End { shard: 0, ..End::member(2) }
}

#[test]
fn a_client_is_served_with_the_secret_and_without() {
    for known in [None, Some(secret(1))] {
        let (address, served) = serve(node());
        let mut client = Client::connect(address, known.as_ref(), LONG).unwrap();
        assert_eq!((client.node(), client.cluster()), (NodeId(2), Some(cluster(7))));
        assert_eq!(client.status().unwrap(), "{}");
        assert_eq!(client.ring(Some(b"cart")).unwrap(), "{}");
        drop(client);
        assert_eq!(served.join().unwrap(), Ok(known.is_some()));
    }
}

#[test]
fn a_client_with_another_secret_hangs_up() {
    let (address, served) = serve(node());
    let error = Client::connect(address, Some(&secret(9)), LONG).unwrap_err();
    assert!(matches!(error, ClientError::OtherSecret));
    assert_eq!(served.join().unwrap(), Ok(false));
}

#[test]
fn a_client_meets_a_node_in_no_cluster() {
    for end in [End::newcomer(2), End::newcomer(2).with_keys(1)] {
        let known = end.keys.map(|_| secret(1));
        let (address, served) = serve(end);
        let mut client = Client::connect(address, known.as_ref(), LONG).unwrap();
        assert_eq!((client.node(), client.cluster()), (NodeId(2), None));
        assert_eq!(client.status().unwrap(), "{}");
        drop(client);
        assert_eq!(served.join().unwrap(), Ok(known.is_some()));
    }
}
