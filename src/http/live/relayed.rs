//! Chats of live sockets at other nodes, which run here: two paths that only other nodes reach.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use futures::stream;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::Notify;
use uuid::Uuid;
use wire::format::live::LiveWriter;

use super::{By, failure, start};
use crate::http::{
    auth,
    error::ApiError,
    respond::{Body, answer, read, refuse},
    state::Shared,
    surface::Answer,
};

/// Where a chat is begun, and where it is cancelled.
pub(super) const CREATE: &str = "/relayed/live/create";
pub(super) const CANCEL: &str = "/relayed/live/cancel";

/// What cancels the chats that run here for other nodes' sockets, by their tokens.
#[derive(Debug, Clone, Default)]
pub(in crate::http) struct Cancels(Arc<Mutex<HashMap<Uuid, Arc<Notify>>>>);

impl Cancels {
    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, Arc<Notify>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, token: Uuid) -> Cancel {
        let asked = Arc::<Notify>::default();
        self.lock().insert(token, Arc::clone(&asked));
        Cancel { asked, token, all: self.clone() }
    }
}

/// What cancels one; forgotten with it.
struct Cancel {
    asked: Arc<Notify>,
    token: Uuid,
    all: Cancels,
}

impl Drop for Cancel {
    fn drop(&mut self) {
        self.all.lock().remove(&self.token);
    }
}

/// The paths.
pub(in crate::http) fn configure(app: &mut web::ServiceConfig, cancels: &Cancels) {
    app.app_data(web::Data::new(cancels.clone()))
        .service(web::resource(CREATE).route(web::post().to(create)))
        .service(web::resource(CANCEL).route(web::post().to(cancel)));
}

#[derive(Deserialize)]
struct Create {
    token: Uuid,
    id: String,
    body: Box<RawValue>,
}

#[derive(Deserialize)]
struct Token {
    token: Uuid,
}

/// Runs a chat: its frames, each a line.
async fn create(state: Shared, cancels: web::Data<Cancels>, request: HttpRequest, body: Body) -> HttpResponse {
    let asked = async {
        let (caller, expires_at) = auth::caller_until(&state, &request).await?;
        let by = By { caller, key: auth::key(&state, &request)?.as_ref().into(), expires_at };
        Ok::<_, ApiError>((by, read::<Create>(&state, body)?))
    };
    let (by, Create { token, id, body }) = match asked.await {
        Ok(asked) => asked,
        Err(error) => return refuse(&request, &error),
    };
    let cancel = cancels.begin(token);
    let chat = match start(&state, &by, &id, &body, &cancel.asked).await {
        Ok((answer, running)) => Chat { answer, running, cancel },
        Err(error) => return HttpResponse::Ok().body(failure(Some(&id), &error) + "\n"),
    };
    HttpResponse::Ok().streaming(stream::unfold(chat, |mut chat| async move {
        let frame = chat.next().await?;
        Some((Ok::<_, actix_web::Error>(Bytes::from(frame + "\n")), chat))
    }))
}

/// Cancels a chat. One that is over is not there any more.
async fn cancel(cancels: web::Data<Cancels>, state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    let work = read::<Token>(&state, body).map(|Token { token }| {
        if let Some(cancel) = cancels.lock().get(&token) {
            cancel.notify_one();
        }
    });
    answer(&request, work)
}

/// A chat that runs.
struct Chat {
    answer: Answer<LiveWriter>,
    running: Arc<Notify>,
    cancel: Cancel,
}

impl Chat {
    async fn next(&mut self) -> Option<String> {
        loop {
            tokio::select! {
                frame = self.answer.next() => return frame,
                () = self.cancel.asked.notified() => self.running.notify_one(),
            }
        }
    }
}
