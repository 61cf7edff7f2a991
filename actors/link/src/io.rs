//! A connection, in clear or with TLS.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use crate::{
    options::Tls,
    proof::{Binding, LABEL, LENGTH},
};

pub(crate) enum Io {
    Clear(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection to a node that listens there, and what belongs to it alone.
pub(crate) async fn connect(address: &str, tls: Option<&Tls>) -> io::Result<(Io, Binding)> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let Some(tls) = tls else { return Ok((Io::Clear(stream), [0; LENGTH])) };
    let name = tls.name_of(address).ok_or_else(|| io::Error::other("no certificate can be for this host"))?;
    let stream = TlsConnector::from(tls.connects.clone()).connect(name, stream).await?;
    bound(TlsStream::Client(stream))
}

/// A connection that a node opened.
pub(crate) async fn accept(stream: TcpStream, tls: Option<&Tls>) -> io::Result<(Io, Binding)> {
    stream.set_nodelay(true)?;
    let Some(tls) = tls else { return Ok((Io::Clear(stream), [0; LENGTH])) };
    bound(TlsStream::Server(TlsAcceptor::from(tls.accepts.clone()).accept(stream).await?))
}

fn bound(stream: TlsStream<TcpStream>) -> io::Result<(Io, Binding)> {
    let exported = match &stream {
        TlsStream::Client(stream) => stream.get_ref().1.export_keying_material([0; LENGTH], LABEL, None),
        TlsStream::Server(stream) => stream.get_ref().1.export_keying_material([0; LENGTH], LABEL, None),
    };
    Ok((Io::Tls(Box::new(stream)), exported.map_err(io::Error::other)?))
}

impl AsyncRead for Io {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_read(cx, into),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, into),
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_write(cx, from),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, from),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Clear(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_write_vectored(cx, from),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, from),
        }
    }
}
