//! Memory for requests that outlive their frame: one place for each slot of the shard's table,
//! whose vectors are used again and again, so that a steady load allocates nothing.

use ringmain_core::drive::Bodies;
use ringmain_core::id::RequestId;

/// A vector larger than this is not kept for the slot's next request, bytes.
const SPARE_BYTES_MAX: usize = 16 << 10;
/// While all vectors have more than this, none of a request that ends is kept, bytes.
const MEMORY_BYTES_KEPT: usize = 8 << 20;

#[derive(Debug, Default)]
struct Body {
    /// Whose it is; none if it was released.
    op: Option<RequestId>,
    has_kept: bool,
    has_gathered: bool,
    kept: Vec<u8>,
    gathered: Vec<u8>,
    /// What `gathered` is written into when it is replaced.
    spare: Vec<u8>,
}

/// The bodies of all requests of a shard.
#[derive(Debug, Default)]
pub struct RequestBodies {
    /// By the slot in the low half of the request's number; as many as were ever used at once.
    bodies: Vec<Body>,
    /// Of all that is kept and gathered.
    bytes: usize,
    /// That all vectors take.
    memory_bytes: usize,
}

impl RequestBodies {
    /// Bytes that are kept and gathered for all requests.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Memory that they take, bytes.
    pub fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    fn body(&self, op: RequestId) -> Option<&Body> {
        self.bodies.get((op.0 & 0xffff) as usize).filter(|body| body.op == Some(op))
    }

    /// Changes the body of `op`, which forgets what an earlier user of its slot left.
    fn change(&mut self, op: RequestId, change: impl FnOnce(&mut Body)) {
        let index = (op.0 & 0xffff) as usize;
        if index >= self.bodies.len() {
            self.bodies.resize_with(index + 1, Body::default);
        }
        let body = &mut self.bodies[index];
        self.bytes -= body.bytes();
        self.memory_bytes -= body.memory_bytes();
        if body.op != Some(op) {
            body.clear();
            body.op = Some(op);
        }
        change(body);
        if body.op.is_none() && self.memory_bytes + body.memory_bytes() > MEMORY_BYTES_KEPT {
            *body = Body::default();
        }
        self.bytes += body.bytes();
        self.memory_bytes += body.memory_bytes();
    }
}

impl Body {
    fn bytes(&self) -> usize {
        self.kept.len() + self.gathered.len()
    }

    fn memory_bytes(&self) -> usize {
        self.kept.capacity() + self.gathered.capacity() + self.spare.capacity()
    }

    fn clear(&mut self) {
        self.op = None;
        self.has_kept = false;
        self.has_gathered = false;
        for vec in [&mut self.kept, &mut self.gathered, &mut self.spare] {
            vec.clear();
            vec.shrink_to(SPARE_BYTES_MAX);
        }
    }
}

impl Bodies for RequestBodies {
    fn keep(&mut self, op: RequestId, bytes: usize, fill: impl FnOnce(&mut [u8])) {
        self.change(op, |body| {
            body.has_kept = true;
            body.kept.resize(bytes, 0);
            fill(&mut body.kept);
        });
    }

    fn kept(&self, op: RequestId) -> Option<&[u8]> {
        self.body(op).filter(|body| body.has_kept).map(|body| body.kept.as_slice())
    }

    fn gather(&mut self, op: RequestId, bytes: usize, fill: impl FnOnce(Option<&[u8]>, &mut [u8])) {
        self.change(op, |body| {
            let old = body.has_gathered.then_some(body.gathered.as_slice());
            body.spare.resize(bytes, 0);
            fill(old, &mut body.spare);
            std::mem::swap(&mut body.gathered, &mut body.spare);
            body.spare.clear();
            body.spare.shrink_to(SPARE_BYTES_MAX);
            body.has_gathered = true;
        });
    }

    fn gathered(&self, op: RequestId) -> Option<&[u8]> {
        self.body(op).filter(|body| body.has_gathered).map(|body| body.gathered.as_slice())
    }

    fn release(&mut self, op: RequestId) {
        if self.body(op).is_some() {
            self.change(op, Body::clear);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: RequestId = RequestId(0x0001_0002);
    const SECOND: RequestId = RequestId(0x0002_0002);

    #[test]
    fn a_later_user_of_a_slot_finds_nothing_of_the_earlier() {
        let mut bodies = RequestBodies::default();
        bodies.keep(FIRST, 3, |out| out.copy_from_slice(b"abc"));
        bodies.gather(FIRST, 1, |old, out| {
            assert_eq!(old, None);
            out[0] = 1;
        });
        assert_eq!(bodies.kept(SECOND), None);
        bodies.gather(SECOND, 1, |old, out| {
            assert_eq!(old, None);
            out[0] = 2;
        });
        assert_eq!(bodies.kept(FIRST), None);
        assert_eq!(bodies.gathered(FIRST), None);
        assert_eq!(bodies.kept(SECOND), None);
        bodies.release(FIRST);
        assert_eq!(bodies.gathered(SECOND), Some(&[2][..]));
        assert_eq!(bodies.bytes(), 1);
        bodies.keep(SECOND, 2, |out| out.copy_from_slice(b"de"));
        assert_eq!(bodies.bytes(), 3);
        bodies.release(SECOND);
        assert_eq!(bodies.bytes(), 0);
        assert_eq!(bodies.gathered(SECOND), None);
    }

    #[test]
    fn what_is_kept_for_later_requests_is_bounded() {
        let mut bodies = RequestBodies::default();
        let count = (MEMORY_BYTES_KEPT / SPARE_BYTES_MAX) as u32 + 10;
        for op in (0..count).map(RequestId) {
            bodies.keep(op, SPARE_BYTES_MAX, |_| {});
        }
        let before = bodies.memory_bytes();
        assert!(before >= MEMORY_BYTES_KEPT + 10 * SPARE_BYTES_MAX);
        for op in (0..count).map(RequestId) {
            bodies.release(op);
        }
        assert_eq!((bodies.bytes(), bodies.memory_bytes()), (0, MEMORY_BYTES_KEPT));
        bodies.keep(RequestId(0), SPARE_BYTES_MAX + 1, |_| {});
        bodies.release(RequestId(0));
        assert!(bodies.memory_bytes() <= MEMORY_BYTES_KEPT);
    }

    #[test]
    fn gathering_sees_what_was_there() {
        let mut bodies = RequestBodies::default();
        bodies.gather(FIRST, 2, |_, out| out.copy_from_slice(&[1, 2]));
        bodies.gather(FIRST, 4, |old, out| {
            let old = old.expect("gathered before");
            out[..2].copy_from_slice(old);
            out[2..].copy_from_slice(old);
        });
        assert_eq!(bodies.gathered(FIRST), Some(&[1, 2, 1, 2][..]));
    }
}
