//! Where AWS's services are and who we are there, found as the AWS tools find it: environment
//! (`AWS_ENDPOINT_URL`, `AWS_REGION`, `AWS_ACCESS_KEY_ID`, …), profile files, web identity, the container's
//! and the instance's role.
//!
//! Source: AWS SDKs and Tools guide, `standardized-credentials` and `feature-ss-endpoints`.

use std::path::PathBuf;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_runtime::env_config::file::{EnvConfigFileKind, EnvConfigFiles};
use aws_smithy_http_client::{
    Builder,
    tls::{Provider, rustls_provider::CryptoMode},
};

/// What stands before that which the AWS tools would find.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The service's URL.
    pub endpoint: Option<String>,
    /// The region.
    pub region: Option<String>,
    /// The profile in the configuration and credentials files.
    pub profile: Option<String>,
    /// Another file of configuration and credentials than those in `~/.aws`.
    pub profile_file: Option<PathBuf>,
}

impl Settings {
    /// The region where nothing names one.
    const REGION: &'static str = "us-east-1";

    /// Finds what is not set here.
    pub(super) async fn load(&self) -> SdkConfig {
        let client = Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
        let mut loader = aws_config::defaults(BehaviorVersion::latest()).http_client(client);
        if let Some(endpoint) = &self.endpoint {
            loader = loader.endpoint_url(endpoint);
        }
        if let Some(region) = &self.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some(profile) = &self.profile {
            loader = loader.profile_name(profile);
        }
        if let Some(file) = &self.profile_file {
            let files = EnvConfigFiles::builder().with_file(EnvConfigFileKind::Config, file);
            loader = loader.profile_files(files.build());
        }
        let found = loader.load().await;
        if found.region().is_some() {
            return found;
        }
        found.into_builder().region(Region::new(Self::REGION)).build()
    }
}
