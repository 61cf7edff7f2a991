//! Pages of people: how they come in, which account they look at, who else is a member of it, and what is their own.

mod accounts;
mod join;
mod letters;
mod members;
mod notifications;
mod oidc;
mod settings;
mod unsubscribe;

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;

use super::page::Frame;
use crate::http::{
    pages::{takes_form, whole},
    routes::get,
};

/// The pages' routes.
pub(super) fn configure(app: &mut web::ServiceConfig) {
    app.service(takes_form("/dashboard/sign-up", letters::sign_up).route(web::get().to(letters::sign_up_page)))
        .service(takes_form("/dashboard/forgot", letters::forgot).route(web::get().to(letters::forgot_page)))
        .service(takes_form("/dashboard/join", join::join).route(web::get().to(join::join_page)))
        .service(takes_form("/dashboard/reset", join::reset).route(web::get().to(join::reset_page)))
        .service(takes_form("/dashboard/accounts", accounts::turn).route(web::get().to(accounts::accounts)))
        .service(get("/dashboard/members", members::members))
        .service(takes_form("/dashboard/members/invite", members::invite))
        .service(takes_form("/dashboard/members/ask", members::ask))
        .service(takes_form("/dashboard/members/{person}/role", members::change_role))
        .service(takes_form("/dashboard/members/{person}/remove", members::remove))
        .service(takes_form("/dashboard/members/invitations/{id}/withdraw", members::withdraw))
        .service(
            takes_form("/dashboard/notifications", notifications::choose)
                .route(web::get().to(notifications::notifications)),
        )
        .service(takes_form("/dashboard/notifications/lines", notifications::set_lines))
        .service(takes_form("/dashboard/notifications/keys/{id}", notifications::set_percents))
        .service(takes_form("/dashboard/unsubscribe", unsubscribe::unsubscribe).route(web::get().to(unsubscribe::page)))
        .service(get("/dashboard/settings", settings::settings))
        .service(takes_form("/dashboard/settings/name", settings::rename))
        .service(takes_form("/dashboard/settings/password", settings::change_password))
        .service(get("/dashboard/oidc/{name}", oidc::begin))
        .service(get("/dashboard/oidc/{name}/callback", oidc::callback))
        .service(takes_form("/dashboard/identities/link", oidc::link))
        .service(takes_form("/dashboard/identities/confirm", oidc::confirm).route(web::get().to(oidc::confirm_page)))
        .service(takes_form("/dashboard/settings/identities/{id}/remove", settings::unlink))
        .service(takes_form("/dashboard/settings/sessions/{id}/end", settings::end_session))
        .service(takes_form("/dashboard/settings/sign-out-everywhere", settings::end_all));
}

/// A page that says one thing.
#[derive(Template)]
#[template(path = "dashboard/said.html")]
struct Said {
    frame: Frame,
    says: String,
}

fn said(request: &HttpRequest, title: &'static str, says: impl Into<String>) -> HttpResponse {
    let page = Said { frame: Frame::of_stranger(title), says: says.into() };
    whole(request, actix_web::http::StatusCode::OK, &page)
}
