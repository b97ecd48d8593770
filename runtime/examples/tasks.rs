//! Many tasks on glommio that ask at once: what they ask together is sent together.
//!
//! ```sh
//! cargo run --release -- demo                                                # in one terminal
//! cargo run --release -p ringmain-runtime --example tasks -- 127.0.0.1:7400  # in another
//! ```

use std::env;
use std::net::SocketAddr;
use std::time::Instant;

use glommio::LocalExecutorBuilder;
use ringmain_runtime::client::{ClientError, ClusterClient, Options};

const TASK_COUNT: u32 = 64;
const ROUND_COUNT: u32 = 200;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let seed: SocketAddr = env::args().nth(1).ok_or("usage: tasks IP:PORT")?.parse()?;
    let program = LocalExecutorBuilder::default().spawn(move || run(seed))?;
    program.join()??;
    Ok(())
}

async fn run(seed: SocketAddr) -> Result<(), ClientError> {
    let client = ClusterClient::connect(&[seed], Options::default()).await?;
    let begun = Instant::now();
    let tasks: Vec<_> = (0..TASK_COUNT)
        .map(|task| {
            let client = client.clone();
            glommio::spawn_local(async move {
                for round in 0..ROUND_COUNT {
                    let key = format!("task-{task}-{round}");
                    let old = client.get(key.as_bytes()).await?;
                    client.put(key.as_bytes(), &old.context, b"done").await?;
                }
                Ok::<_, ClientError>(())
            })
        })
        .collect();
    for task in tasks {
        task.await?;
    }
    let count = 2 * TASK_COUNT * ROUND_COUNT;
    println!("{count} requests in {:.1?}", begun.elapsed());
    Ok(())
}
