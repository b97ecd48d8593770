//! Time and CPU of what is done between two looks at the clocks.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// What was measured so far. CPU is that of all threads of this process, in the kernel too; what
/// the kernel's own threads write back is not in it.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    pub(crate) operations: u64,
    pub(crate) took: Duration,
    pub(crate) cpu: Duration,
}

impl Meter {
    /// Does `work`, which counts as so many operations.
    pub(crate) fn measure(&mut self, operations: usize, work: impl FnOnce()) {
        let (cpu, began) = (cpu_time(), Instant::now());
        work();
        self.took += began.elapsed();
        self.cpu += cpu_time().saturating_sub(cpu);
        self.operations += operations as u64;
    }

    /// Waits until this process has nothing to do any more, for a minute at most: what an engine
    /// left to its own threads. Their CPU counts, the time does not.
    pub(crate) fn rest(&mut self) {
        let (cpu, began) = (cpu_time(), Instant::now());
        let (mut last, mut idle_count) = (cpu, 0);
        while idle_count < IDLE_COUNT && began.elapsed() < REST_MAX {
            std::thread::sleep(LOOK);
            let now = cpu_time();
            let is_idle = now.saturating_sub(last) < LOOK / 20;
            idle_count = if is_idle { idle_count + 1 } else { 0 };
            last = now;
        }
        self.cpu += last.saturating_sub(cpu);
    }

    pub(crate) fn per_second(&self) -> f64 {
        self.operations as f64 / self.took.as_secs_f64()
    }

    /// CPU microseconds per operation.
    pub(crate) fn cpu_us(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.operations as f64
    }
}

/// Between two looks whether there is work.
const LOOK: Duration = Duration::from_millis(50);
/// So many looks in a row saw none: then there is none.
const IDLE_COUNT: u32 = 4;
const REST_MAX: Duration = Duration::from_secs(60);

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
