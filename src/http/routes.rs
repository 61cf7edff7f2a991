//! The one table of routes. A POST is made by [`post`], which gives it `Idempotency-Key`; a test sees to that.

use actix_web::{HttpRequest, HttpResponse, web};

use super::{
    Shared, account, admin, error::ApiError, export, history, idempotency::post, inference, live, operations, refuse,
    usage,
};

/// All routes, limits and fallbacks.
pub fn configure(app: &mut web::ServiceConfig, state: &Shared) {
    let limit = state.settings.limits.body_bytes;
    app.app_data(state.clone())
        .app_data(web::PayloadConfig::new(limit))
        .service(post("/v1/chat/completions", inference::chat))
        .service(post("/v1/completions", inference::completions))
        .service(post("/v1/quote", inference::quote))
        .service(web::resource("/v1/models").route(web::get().to(inference::models)).default_service(wrong_method()))
        .service(
            web::resource("/v1/models/{id:.+}").route(web::get().to(inference::model)).default_service(wrong_method()),
        )
        .service(web::resource("/v1/balance").route(web::get().to(account::balance)).default_service(wrong_method()))
        .service(web::resource("/v1/grants").route(web::get().to(account::grants)).default_service(wrong_method()))
        .service(web::resource("/v1/holds").route(web::get().to(history::holds)).default_service(wrong_method()))
        .service(web::resource("/v1/usage").route(web::get().to(usage::usage)).default_service(wrong_method()))
        .service(web::resource("/v1/usage.csv").route(web::get().to(export::usage_csv)).default_service(wrong_method()))
        .service(web::resource("/v1/payments").route(web::get().to(history::payments)).default_service(wrong_method()))
        .service(web::resource("/v1/requests").route(web::get().to(history::requests)).default_service(wrong_method()))
        .service(
            web::resource("/v1/requests/{id}").route(web::get().to(history::request)).default_service(wrong_method()),
        )
        .service(post("/v1/credits/purchase", account::purchase))
        .service(web::resource("/v1/live").route(web::get().to(live::live)).default_service(wrong_method()))
        .service(post("/admin/v1/accounts", admin::create_account))
        .service(
            web::resource("/admin/v1/accounts/{id}")
                .route(web::get().to(admin::account))
                .default_service(wrong_method()),
        )
        .service(post("/admin/v1/accounts/{id}/keys", admin::create_key))
        .service(
            web::resource("/admin/v1/accounts/{id}/keys/{key}")
                .route(web::delete().to(admin::revoke_key))
                .default_service(wrong_method()),
        )
        .service(post("/admin/v1/accounts/{id}/grants", admin::grant))
        .service(web::resource("/admin/v1/actors").route(web::get().to(admin::actors)).default_service(wrong_method()))
        .service(post("/admin/v1/audit", admin::audit))
        .service(post("/admin/v1/clock", admin::clock))
        .service(post("/admin/v1/faults", admin::fault))
        .service(web::resource("/healthz").route(web::get().to(operations::healthz)).default_service(wrong_method()))
        .service(web::resource("/readyz").route(web::get().to(operations::readyz)).default_service(wrong_method()))
        .service(web::resource("/metrics").route(web::get().to(operations::metrics)).default_service(wrong_method()))
        .default_service(web::to(not_found));
}

pub(super) fn wrong_method() -> actix_web::Route {
    web::to(method_not_allowed)
}

async fn method_not_allowed(request: HttpRequest) -> HttpResponse {
    refuse(&request, &ApiError::method_not_allowed())
}

async fn not_found(request: HttpRequest) -> HttpResponse {
    refuse(&request, &ApiError::not_found("this path"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_post_takes_an_idempotency_key() {
        let table = include_str!("routes.rs");
        let by_hand = ["web::", "post()"].concat();
        assert!(!table.contains(&by_hand), "make it with idempotency::post");
        assert!(table.contains("post(\"/v1/chat/completions\""));
    }
}
