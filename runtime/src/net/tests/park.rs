use super::*;

fn in_executor<F: std::future::Future<Output = ()> + 'static>(
    run: impl FnOnce() -> F + Send + 'static,
) {
    let executor = executor(glommio::Placement::Unbound);
    executor.spawn(move || async move { run().await }).unwrap().join().unwrap();
}

#[test]
fn data_ends_a_park() {
    in_executor(|| async {
        let (mut ring, address) = listening(small());
        let client = TcpStream::connect(address).unwrap();
        let connection = accept(&mut ring, Receive::Stream);
        for round in 0..100 {
            let mut client = client.try_clone().unwrap();
            let writer = std::thread::spawn(move || client.write_all(&[round]).unwrap());
            let mut heard = None;
            while heard.is_none() {
                ring.park(None).await.unwrap();
                ring.submit_and_wait(Some(Duration::ZERO)).unwrap();
                if let Some(Event::Received { bytes, .. }) = ring.next_event() {
                    heard = Some(bytes.to_vec());
                }
            }
            assert_eq!(heard, Some(vec![round]));
            writer.join().unwrap();
        }
        assert_eq!(ring.ring.in_flight_count(), 3);
        close(&mut ring, connection);
    });
}

#[test]
fn a_deadline_ends_a_park() {
    in_executor(|| async {
        let mut ring = HotRing::new(small()).unwrap();
        for _ in 0..20 {
            let start = std::time::Instant::now();
            // A count that is left over may end a park early, once.
            while start.elapsed() < Duration::from_millis(2) {
                ring.park(Some(Duration::from_millis(2))).await.unwrap();
            }
        }
        ring.submit_and_wait(Some(Duration::ZERO)).unwrap();
        assert!(ring.next_event().is_none());
        ring.submit_and_wait(Some(Duration::ZERO)).unwrap();
        assert!(ring.next_event().is_none());
        assert_eq!(ring.ring.in_flight_count(), 1, "a deadline is still armed");
    });
}

#[test]
fn a_park_can_be_dropped_half_way() {
    in_executor(|| async {
        let (mut ring, address) = listening(small());
        for _ in 0..3 {
            let mut polls = 0;
            let pause = std::future::poll_fn(move |context| {
                polls += 1;
                context.waker().wake_by_ref();
                if polls > 2 { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
            });
            futures_race(ring.park(None), pause).await;
            let client = TcpStream::connect(address).unwrap();
            let connection = accept(&mut ring, Receive::Stream);
            drop(client);
            assert_eq!(received_to_end(&mut ring, connection), b"");
            close(&mut ring, connection);
        }
        ring.doorbell().ring();
        ring.park(None).await.unwrap();
        assert!(matches!(next(&mut ring), Seen::Other(Event::Doorbell)));
    });
}

/// Waits for one of two, dropping the other.
async fn futures_race(one: impl Future, other: impl Future) {
    let (mut one, mut other) = (std::pin::pin!(one), std::pin::pin!(other));
    std::future::poll_fn(|context| {
        let is_done = one.as_mut().poll(context).is_ready();
        match is_done || other.as_mut().poll(context).is_ready() {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        }
    })
    .await;
}

#[test]
fn other_tasks_run_while_parked() {
    in_executor(|| async {
        let mut ring = HotRing::new(small()).unwrap();
        let doorbell = ring.doorbell();
        let task = glommio::spawn_local(async move {
            glommio::executor().yield_task_queue_now().await;
            doorbell.ring();
        });
        ring.park(Some(Duration::from_secs(1_000))).await.unwrap();
        assert!(matches!(next(&mut ring), Seen::Other(Event::Doorbell)));
        task.await;
        assert_eq!(ring.counts().sleeps, 1, "it was parked");
        // The deadline is not left behind.
        assert_quiet(&mut ring, 0);
    });
}

/// Else a node whose clients have taken all files ends when it has nothing to do.
#[test]
fn no_file_is_opened_for_a_park() {
    // The limit is one of the process, so this needs one of its own.
    const ALONE: &str = "RINGMAIN_TEST_IS_ALONE";
    if std::env::var_os(ALONE).is_none() {
        let name = "net::tests::park::no_file_is_opened_for_a_park";
        let mut shell = std::process::Command::new("sh");
        shell
            .args(["-c", "ulimit -n 100; exec \"$@\"", "sh"])
            .arg(std::env::current_exe().unwrap());
        let ended = shell.args(["--exact", name]).env(ALONE, "").output().unwrap();
        let told = String::from_utf8_lossy(&ended.stdout);
        assert!(ended.status.success() && told.contains("1 passed"), "{told}");
        return;
    }
    in_executor(|| async {
        let mut ring = HotRing::new(small()).unwrap();
        let mut files = Vec::new();
        while let Ok(file) = std::fs::File::open("/dev/null") {
            files.push(file);
        }
        ring.park(Some(Duration::from_millis(1))).await.unwrap();
    });
}
