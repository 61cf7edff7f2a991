//! A WebSocket client for `/v1/live`.

use std::time::Duration;

use futures::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Message, client::IntoClientRequest},
};

/// An open socket.
pub(crate) struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    pub(crate) async fn open(url: &str, key: &str) -> Self {
        Self::open_with(url, "authorization", &format!("Bearer {key}")).await
    }

    /// Opened by another header.
    pub(crate) async fn open_with(url: &str, header: &'static str, value: &str) -> Self {
        let mut request = format!("{}/v1/live", url.replacen("http", "ws", 1)).into_client_request().unwrap();
        request.headers_mut().insert(header, value.parse().unwrap());
        Self(connect_async(request).await.unwrap().0)
    }

    pub(crate) async fn send(&mut self, frame: &Value) {
        self.0.send(Message::text(frame.to_string())).await.unwrap();
    }

    /// The next frame.
    pub(crate) async fn next(&mut self) -> Value {
        loop {
            let message = tokio::time::timeout(Duration::from_mins(1), self.0.next()).await.unwrap();
            if let Message::Text(text) = message.unwrap().unwrap() {
                return serde_json::from_str(&text).unwrap();
            }
        }
    }

    /// The next frame, if one comes in time before the socket ends.
    pub(crate) async fn next_within(&mut self, longest: Duration) -> Option<Value> {
        loop {
            match tokio::time::timeout(longest, self.0.next()).await {
                Ok(Some(Ok(Message::Text(text)))) => return Some(serde_json::from_str(&text).unwrap()),
                Ok(Some(Ok(_))) => {}
                Ok(Some(Err(_)) | None) | Err(_) => return None,
            }
        }
    }

    /// The code it is closed with, passing over frames.
    pub(crate) async fn close_code(&mut self) -> u16 {
        loop {
            let message = tokio::time::timeout(Duration::from_mins(1), self.0.next()).await.unwrap();
            if let Message::Close(frame) = message.unwrap().unwrap() {
                return frame.unwrap().code.into();
            }
        }
    }

    /// The next frame of a type, passing over others.
    pub(crate) async fn next_of(&mut self, kind: &str) -> Value {
        loop {
            let frame = self.next().await;
            if frame["type"] == kind {
                return frame;
            }
        }
    }
}
