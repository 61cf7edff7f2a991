//! `/dashboard`: pages for people. They are made here, whole, and work without scripts; scripts of ours keep the balance
//! live and stream the playground's answer. Who signs in by an API key sees and does what the key may; a person, what the
//! role in the account allows.
//!
//! A file is a page, with its forms. A form that was carried out leads back to its page (303), so that reloading repeats
//! nothing.

pub(super) mod assets;
mod cards;
mod chart;
mod credits;
mod events;
mod keys;
mod models;
mod overview;
pub(super) mod page;
mod people;
mod playground;
mod requests;
mod sign_in;
pub(super) mod text;
mod ticked;
mod trail;
mod usage;
mod webhooks;

pub(super) use page::failed;

use actix_web::{HttpRequest, HttpResponse, web};

use super::{
    error::ApiError,
    pages::{takes_form, to},
    routes::get,
};

/// The pages' routes.
pub fn configure(app: &mut web::ServiceConfig) {
    app.service(get("/dashboard", overview::overview))
        .service(takes_form("/dashboard/sign-in", sign_in::sign_in).route(web::get().to(sign_in::page)))
        .service(takes_form("/dashboard/sign-out", sign_in::sign_out))
        .service(get("/dashboard/usage", usage::usage))
        .service(get("/dashboard/requests", requests::requests))
        .service(get("/dashboard/requests/{id}", requests::request))
        .service(takes_form("/dashboard/requests/{id}/stop", requests::stop))
        .service(get("/dashboard/credits", credits::credits))
        .service(takes_form("/dashboard/credits/buy", credits::buy))
        .service(takes_form("/dashboard/credits/auto-reload", credits::auto_reload))
        .service(takes_form("/dashboard/credits/auto-scale", credits::auto_scale))
        .configure(cards::configure)
        .service(takes_form("/dashboard/credits/calendar", credits::share_calendar))
        .service(takes_form("/dashboard/credits/calendar/end", credits::withdraw_calendar))
        .service(takes_form("/dashboard/keys", keys::create).route(web::get().to(keys::keys)))
        .service(takes_form("/dashboard/keys/{id}/revoke", keys::revoke))
        .service(get("/dashboard/models", models::models))
        .service(get("/dashboard/playground", playground::playground))
        .service(get("/dashboard/events", events::events))
        .service(get("/dashboard/audit-log", trail::audit_log))
        .service(takes_form("/dashboard/webhooks", webhooks::create).route(web::get().to(webhooks::webhooks)))
        .service(get("/dashboard/webhooks/{id}", webhooks::webhook))
        .service(takes_form("/dashboard/webhooks/{id}/test", webhooks::test))
        .service(takes_form("/dashboard/webhooks/{id}/turn", webhooks::turn))
        .service(takes_form("/dashboard/webhooks/{id}/delete", webhooks::delete))
        .service(get("/dashboard/assets/{name}", assets::asset))
        .configure(people::configure)
        .service(web::resource("/dashboard/{nothing:.*}").to(nothing));
}

/// What is below these pages, and is none.
async fn nothing(request: HttpRequest) -> HttpResponse {
    if request.path() == "/dashboard/" {
        return to("/dashboard");
    }
    failed(&request, &ApiError::not_found("This page"))
}
