//! What memory a session uses, and how it gives it back.

use super::RespSession;

impl RespSession {
    /// Memory that it uses, or should need for answers that are to come, bytes.
    pub fn memory_bytes(&self) -> usize {
        let RespSession { out, slots, typed, token, name, walk, .. } = self;
        let small = typed.capacity() + token.capacity() + name.capacity();
        let walk = walk.as_ref().map_or(0, |walk| walk.memory_bytes());
        out.capacity() + slots.memory_bytes() + small + walk
    }

    /// Gives back memory that nothing is in: nobody has said anything for a while.
    pub fn rest(&mut self) {
        self.slots.rest();
        if self.out.is_empty() && !self.group.is_open() {
            self.out = Default::default();
        }
        for buffer in [&mut self.typed, &mut self.token, &mut self.name] {
            buffer.shrink_to_fit();
        }
    }
}
