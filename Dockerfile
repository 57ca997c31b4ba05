# zoomin on the processor; see docs/install.md. Mount your images: docker run -v "$PWD":/work zoomin --help
FROM python:3.12-slim

RUN pip install --no-cache-dir uv
COPY pyproject.toml constraints.txt README.md LICENSE /zoomin/
COPY src /zoomin/src
COPY recipes /zoomin/recipes
RUN uv pip install --system --no-cache --torch-backend cpu '/zoomin[all]' \
    && useradd --create-home zoomin

USER zoomin
WORKDIR /work
ENTRYPOINT ["zoomin"]
CMD ["--help"]
