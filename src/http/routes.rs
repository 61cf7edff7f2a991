//! The one table of routes.

use actix_web::{HttpRequest, HttpResponse, web};

use super::{Shared, account, admin, error::ApiError, export, history, inference, live, operations, refuse, usage};

/// All routes, limits and fallbacks.
pub fn configure(app: &mut web::ServiceConfig, state: &Shared) {
    let limit = state.settings.limits.body_bytes;
    app.app_data(state.clone())
        .app_data(web::PayloadConfig::new(limit))
        .service(
            web::resource("/v1/chat/completions")
                .route(web::post().to(inference::chat))
                .default_service(wrong_method()),
        )
        .service(
            web::resource("/v1/completions")
                .route(web::post().to(inference::completions))
                .default_service(wrong_method()),
        )
        .service(web::resource("/v1/quote").route(web::post().to(inference::quote)).default_service(wrong_method()))
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
        .service(
            web::resource("/v1/credits/purchase")
                .route(web::post().to(account::purchase))
                .default_service(wrong_method()),
        )
        .service(web::resource("/v1/live").route(web::get().to(live::live)).default_service(wrong_method()))
        .service(
            web::resource("/admin/v1/accounts")
                .route(web::post().to(admin::create_account))
                .default_service(wrong_method()),
        )
        .service(
            web::resource("/admin/v1/accounts/{id}")
                .route(web::get().to(admin::account))
                .default_service(wrong_method()),
        )
        .service(
            web::resource("/admin/v1/accounts/{id}/keys")
                .route(web::post().to(admin::create_key))
                .default_service(wrong_method()),
        )
        .service(
            web::resource("/admin/v1/accounts/{id}/keys/{key}")
                .route(web::delete().to(admin::revoke_key))
                .default_service(wrong_method()),
        )
        .service(
            web::resource("/admin/v1/accounts/{id}/grants")
                .route(web::post().to(admin::grant))
                .default_service(wrong_method()),
        )
        .service(web::resource("/admin/v1/actors").route(web::get().to(admin::actors)).default_service(wrong_method()))
        .service(web::resource("/admin/v1/audit").route(web::post().to(admin::audit)).default_service(wrong_method()))
        .service(web::resource("/admin/v1/clock").route(web::post().to(admin::clock)).default_service(wrong_method()))
        .service(web::resource("/admin/v1/faults").route(web::post().to(admin::fault)).default_service(wrong_method()))
        .service(web::resource("/healthz").route(web::get().to(operations::healthz)).default_service(wrong_method()))
        .service(web::resource("/readyz").route(web::get().to(operations::readyz)).default_service(wrong_method()))
        .service(web::resource("/metrics").route(web::get().to(operations::metrics)).default_service(wrong_method()))
        .default_service(web::to(not_found));
}

fn wrong_method() -> actix_web::Route {
    web::to(method_not_allowed)
}

async fn method_not_allowed(request: HttpRequest) -> HttpResponse {
    refuse(&request, &ApiError::method_not_allowed())
}

async fn not_found(request: HttpRequest) -> HttpResponse {
    refuse(&request, &ApiError::not_found("this path"))
}
