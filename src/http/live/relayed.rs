//! Requests of live sockets at other nodes, which run or are kept here: paths that only other nodes reach.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use actix_web::{HttpRequest, HttpResponse, web};
use futures::stream;
use serde::Deserialize;
use tokio::sync::Notify;
use uuid::Uuid;

use super::{
    By,
    frames::Create,
    ongoing::{Next, Ongoing, forgotten},
    request::{self, Frames, failure, line},
};
use crate::http::{
    auth,
    error::ApiError,
    respond::{Body, answer, read, refuse},
    state::Shared,
};

/// Where a request is begun, where one is taken up again, and where either is cancelled.
pub(super) const CREATE: &str = "/relayed/live/create";
pub(super) const RESUME: &str = "/relayed/live/resume";
pub(super) const CANCEL: &str = "/relayed/live/cancel";

/// What cancels the requests that run here for other nodes' sockets, by their tokens.
#[derive(Debug, Clone, Default)]
pub(in crate::http) struct Cancels(Arc<Mutex<HashMap<Uuid, Arc<Notify>>>>);

impl Cancels {
    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, Arc<Notify>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, token: Uuid, asked: Arc<Notify>) -> Cancel {
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
        .service(web::resource(RESUME).route(web::post().to(resume)))
        .service(web::resource(CANCEL).route(web::post().to(cancel)));
}

#[derive(Deserialize)]
struct Asked<T> {
    token: Uuid,
    what: T,
}

#[derive(Deserialize)]
struct Resume {
    id: String,
    after: u64,
}

#[derive(Deserialize)]
struct Token {
    token: Uuid,
}

async fn by(state: &Shared, request: &HttpRequest) -> Result<By, ApiError> {
    let key = auth::key(state, request)?.into_owned();
    By::of(state, (key, None)).await
}

/// Runs a request: its frames, each a line.
async fn create(state: Shared, cancels: web::Data<Cancels>, request: HttpRequest, body: Body) -> HttpResponse {
    let asked = async { Ok::<_, ApiError>((by(&state, &request).await?, read::<Asked<Create>>(&state, body)?)) };
    let (by, Asked { token, what: create }) = match asked.await {
        Ok(asked) => asked,
        Err(error) => return refuse(&request, &error),
    };
    let cancel = cancels.begin(token, Arc::default());
    match Box::pin(request::begin_here(&state, &by, &create, &cancel.asked)).await {
        Ok(frames) => {
            lines((frames, cancel), async |(frames, cancel): &mut (Frames, Cancel)| frames.next(&cancel.asked).await)
        }
        Err(error) => HttpResponse::Ok().body(line(failure(Some(&create.id), &error))),
    }
}

/// Frames of a request that is kept here, each a line, from a number on.
async fn resume(state: Shared, cancels: web::Data<Cancels>, request: HttpRequest, body: Body) -> HttpResponse {
    let asked = async {
        let (by, asked) = (by(&state, &request).await?, read::<Asked<Resume>>(&state, body)?);
        let found = state.ongoings.find(by.holder, &asked.what.id);
        Ok::<_, ApiError>((asked, found.ok_or_else(|| ApiError::not_found("this request"))?))
    };
    let (Asked { token, what }, ongoing) = match asked.await {
        Ok(found) => found,
        Err(error) => return refuse(&request, &error),
    };
    if let Err(error) = ongoing.check(what.after) {
        return HttpResponse::Ok().body(line(failure(Some(&what.id), &error)));
    }
    let cancel = cancels.begin(token, Arc::clone(&ongoing.cancel));
    let next = async |followed: &mut (Arc<Ongoing>, Option<u64>, String, Cancel)| {
        let (ongoing, number, id, _) = followed;
        let wanted = number.take()?;
        match ongoing.next(wanted).await {
            Next::Frame(frame) => {
                *number = Some(wanted + 1);
                Some(frame.to_string())
            }
            Next::Forgotten(first) => Some(failure(Some(id), &forgotten(first))),
            Next::Over => None,
        }
    };
    lines((ongoing, Some(what.after + 1), what.id, cancel), next)
}

/// An answer of lines.
fn lines<T: 'static>(from: T, next: impl AsyncFn(&mut T) -> Option<String> + Clone + 'static) -> HttpResponse {
    HttpResponse::Ok().streaming(stream::unfold(from, move |mut from| {
        let next = next.clone();
        async move {
            let frame = next(&mut from).await?;
            Some((Ok::<_, actix_web::Error>(line(frame)), from))
        }
    }))
}

/// Cancels a request. One that is over is not there any more.
async fn cancel(cancels: web::Data<Cancels>, state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    let work = read::<Token>(&state, body).map(|Token { token }| {
        if let Some(cancel) = cancels.lock().get(&token) {
            cancel.notify_one();
        }
    });
    answer(&request, work)
}
