//! `/operator`: pages for whoever runs this gateway. They show what `GET /admin/v1/overview` and its siblings answer, and do
//! what the operator's routes do. A page is data, which one template writes: tables, facts, forms. It works without scripts; a
//! script of ours asks for the page again each second, and puts what has changed in its place.

mod accounts;
mod acts;
mod assets;
mod kit;
mod live;
mod money;
mod nodes;
mod overview;
mod page;
mod pools;
mod prices;
mod requests;
mod session;
mod sign_in;
mod text;

pub(super) use page::failed;
pub use session::Sessions;

use actix_web::{HttpRequest, HttpResponse, web};

use super::{
    error::ApiError,
    pages::{takes_form, to},
    routes::get,
};

/// The pages' routes.
pub fn configure(app: &mut web::ServiceConfig) {
    app.service(get("/operator", overview::overview))
        .service(takes_form("/operator/sign-in", sign_in::sign_in).route(web::get().to(sign_in::page)))
        .service(takes_form("/operator/sign-out", sign_in::sign_out))
        .service(get("/operator/live", live::live))
        .service(get("/operator/actors", overview::actors))
        .service(get("/operator/actors/{kind}/{name:.+}", overview::actor))
        .service(get("/operator/pools", pools::pools))
        .service(get("/operator/providers", pools::providers))
        .service(takes_form("/operator/money/audit", money::audit))
        .service(get("/operator/money", money::money))
        .service(get("/operator/nodes", nodes::nodes))
        .service(get("/operator/accounts", accounts::accounts))
        .service(get("/operator/accounts/{account}", accounts::account))
        .service(takes_form("/operator/accounts/{account}/freeze", accounts::freeze))
        .service(takes_form("/operator/accounts/{account}/unfreeze", accounts::unfreeze))
        .service(takes_form("/operator/accounts/{account}/grant", accounts::grant))
        .service(takes_form("/operator/accounts/{account}/void", accounts::void))
        .service(takes_form("/operator/accounts/{account}/refund", accounts::refund))
        .service(get("/operator/requests", requests::requests))
        .service(get("/operator/requests/{id}", requests::request))
        .service(takes_form("/operator/requests/{id}/cancel", requests::cancel))
        .service(get("/operator/prices", prices::prices))
        .service(takes_form("/operator/acts", acts::act).route(web::get().to(acts::page)))
        .service(get("/operator/assets/{name}", assets::asset))
        .service(web::resource("/operator/{nothing:.*}").to(nothing));
}

/// What is below these pages, and is none.
async fn nothing(request: HttpRequest) -> HttpResponse {
    if request.path() == "/operator/" {
        return to("/operator");
    }
    failed(&request, &ApiError::not_found("This page"))
}
