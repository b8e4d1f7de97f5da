//! The minimal proxy that does nothing: one read and one write for each request, in tokio like Kiln. No response can
//! cost less; the difference is Kiln's own cost.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// Responds to anything with the same 10 KiB, until it is killed.
pub(crate) fn serve(port: u16) -> std::io::Result<()> {
    const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 10240\r\n\r\n";
    let answer: &'static [u8] = [HEAD.as_bytes(), &[b'x'; 10 << 10]].concat().leak();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        loop {
            let (mut stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::task::spawn_local(async move {
                let mut request = [0; 4096];
                // A client that waits for its responses sends one request at a time, in one write.
                while stream.read(&mut request).await.is_ok_and(|read| read > 0) {
                    if stream.write_all(answer).await.is_err() {
                        return;
                    }
                }
            });
        }
    })
}
