//! A WebSocket client for `/v1/live`.

use std::time::Duration;

use futures::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Error, Message, client::IntoClientRequest},
};

/// An open socket.
pub(crate) struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    pub(crate) async fn open(url: &str, key: &str) -> Self {
        Self::open_with(url, "authorization", &format!("Bearer {key}")).await
    }

    /// Opened by another header.
    pub(crate) async fn open_with(url: &str, header: &'static str, value: &str) -> Self {
        Self::try_open(url, &[(header, value)]).await.unwrap()
    }

    /// Opened by these headers; the status of a refusal.
    pub(crate) async fn try_open(url: &str, headers: &[(&'static str, &str)]) -> Result<Self, u16> {
        Self::try_open_at(url, "/v1/live", headers).await
    }

    /// The same, at another path.
    pub(crate) async fn try_open_at(url: &str, path: &str, headers: &[(&'static str, &str)]) -> Result<Self, u16> {
        let mut request = format!("{}{path}", url.replacen("http", "ws", 1)).into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        match connect_async(request).await {
            Ok((stream, _)) => Ok(Self(stream)),
            Err(Error::Http(refused)) => Err(refused.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    /// Sends a message of any kind.
    pub(crate) async fn send_raw(&mut self, message: Message) -> Result<(), Error> {
        self.0.send(message).await
    }

    pub(crate) async fn send(&mut self, frame: &Value) {
        self.0.send(Message::text(frame.to_string())).await.unwrap();
    }

    /// The next frame.
    pub(crate) async fn next(&mut self) -> Value {
        let longest = tokio::time::Instant::now() + Duration::from_mins(1);
        loop {
            let message = tokio::time::timeout_at(longest, self.0.next()).await.unwrap();
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
        self.closed().await.0
    }

    /// The code and the reason it is closed with, passing over frames.
    pub(crate) async fn closed(&mut self) -> (u16, String) {
        let longest = tokio::time::Instant::now() + Duration::from_mins(1);
        loop {
            let message = tokio::time::timeout_at(longest, self.0.next()).await.unwrap();
            if let Message::Close(frame) = message.unwrap().unwrap() {
                let frame = frame.unwrap();
                return (frame.code.into(), frame.reason.to_string());
            }
        }
    }

    /// Answers so many pings, passing over frames.
    pub(crate) async fn is_pinged(&mut self, mut times: usize) {
        while times > 0 {
            let message = tokio::time::timeout(Duration::from_mins(1), self.0.next()).await.unwrap();
            times -= usize::from(matches!(message.unwrap().unwrap(), Message::Ping(_)));
        }
    }

    /// The frames of a request, up to its last one.
    pub(crate) async fn frames_of(&mut self, id: &str) -> Vec<Value> {
        let mut frames = Vec::new();
        loop {
            let frame = self.next().await;
            if frame["id"] != id {
                continue;
            }
            let kind = frame["type"].as_str().unwrap().to_owned();
            frames.push(frame);
            if kind == "error" || kind.split('.').next_back() == Some("done") {
                return frames;
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
