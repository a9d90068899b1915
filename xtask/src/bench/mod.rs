//! Stub.
#[derive(clap::Args)]
pub(crate) struct Arguments {}
pub(crate) fn perform(_: &Arguments) -> anyhow::Result<()> {
    Ok(())
}
