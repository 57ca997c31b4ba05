# zoomin on the processor; see docs/install.md. Mount your images: docker run -v "$PWD":/work zoomin --help
FROM python:3.12-slim

# rasterio's wheel links the system's libexpat, which slim images may lack
RUN apt-get update \
    && apt-get install -y --no-install-recommends libexpat1 \
    && rm -rf /var/lib/apt/lists/*
RUN pip install --no-cache-dir uv
COPY pyproject.toml README.md LICENSE /zoomin/
COPY src /zoomin/src
COPY recipes /zoomin/recipes
RUN uv pip install --system --no-cache --torch-backend cpu '/zoomin[all]'

# A home and a folder of work that any user may write to: docker run --user "$(id -u):$(id -g)"
RUN useradd --home-dir /zoomin/home --create-home zoomin && mkdir /work && chmod 1777 /zoomin/home /work
ENV HOME=/zoomin/home USER=zoomin
USER zoomin
WORKDIR /work
ENTRYPOINT ["zoomin"]
CMD ["--help"]
