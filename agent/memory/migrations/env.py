"""Runs the migrations on the connection that `ExperienceBuffer` gives; no file of its own."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], render_as_batch=True)
context.run_migrations()
