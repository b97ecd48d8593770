use std::sync::Mutex;
use std::sync::mpsc;

use super::*;

const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Page {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

/// A terminal stopped by Ctrl-S: each write tells that it began, and waits for leave.
struct Stopped {
    page: Page,
    began: mpsc::Sender<()>,
    leave: mpsc::Receiver<()>,
}

impl Write for Stopped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.began.send(()).ok();
        // Once the test has dropped its end, the terminal runs freely.
        self.leave.recv().ok();
        self.page.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn lines_come_out_whole_and_in_order() {
    let page = Page::default();
    let queue = LogQueue::start(page.clone()).unwrap();
    for number in 0..100 {
        let mut line = queue.line();
        write!(line, "line ").unwrap();
        writeln!(line, "{number}").unwrap();
    }
    drop(queue.line());
    assert!(queue.flush(PATIENCE));
    let expected: String = (0..100).map(|number| format!("line {number}\n")).collect();
    assert_eq!(page.text(), expected);
    assert_eq!(queue.dropped(), 0);
}

#[test]
fn a_stopped_terminal_drops_lines_and_says_so_later() {
    let page = Page::default();
    let (began, has_begun) = mpsc::channel();
    let (leave_sender, leave) = mpsc::channel();
    let queue = LogQueue::start(Stopped { page: page.clone(), began, leave }).unwrap();
    writeln!(queue.line(), "first").unwrap();
    has_begun.recv().unwrap();
    for _ in 0..LINE_COUNT_MAX + 10 {
        writeln!(queue.line(), "more").unwrap();
    }
    assert_eq!(queue.dropped(), 10);
    assert!(!queue.flush(Duration::ZERO), "the queue is full");
    drop(leave_sender);
    assert!(queue.flush(PATIENCE));
    let text = page.text();
    assert_eq!(text.lines().next(), Some("first"));
    assert_eq!(text.lines().nth(1), Some("ringmain: 10 log lines were dropped"));
    assert_eq!(text.lines().filter(|&line| line == "more").count(), LINE_COUNT_MAX);
}

#[test]
fn a_long_line_is_cut_and_still_ends() {
    let page = Page::default();
    let queue = LogQueue::start(page.clone()).unwrap();
    queue.line().write_all(&[b'x'; LINE_BYTES_MAX * 2]).unwrap();
    queue.line().write_all(b"next\n").unwrap();
    assert!(queue.flush(PATIENCE));
    let text = page.text();
    assert_eq!(text.len(), LINE_BYTES_MAX + 5);
    assert_eq!(text.lines().nth(1), Some("next"));
}

#[test]
fn a_quoted_newline_does_not_make_a_second_line() {
    let page = Page::default();
    let queue = LogQueue::start(page.clone()).unwrap();
    queue.line().write_all(b"key 'a\nready node=1\x1b[2J'\n").unwrap();
    queue.line().write_all(b"no end").unwrap();
    assert!(queue.flush(PATIENCE));
    assert_eq!(page.text(), "key 'a ready node=1 [2J'\nno end\n");
}

#[test]
fn a_sink_that_fails_loses_lines_only() {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    }
    let queue = LogQueue::start(Closed).unwrap();
    writeln!(queue.line(), "lost").unwrap();
    assert!(queue.flush(PATIENCE));
    assert_eq!(queue.dropped(), 1);
}
