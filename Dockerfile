# A broker in a container. Its certificate and key come from outside, as ./tls/cert.pem and ./tls/key.pem that uid 7400 may read:
#
#     docker build -t anyport .
#     docker run -p 7400:7400/udp -v anyport:/var/lib/anyport -v ./tls:/etc/anyport:ro --stop-timeout 30 anyport
#
# Or to try it, with an authority of its own: `docker run ... anyport --dev`. Its certificate is then for localhost, and
# `/var/lib/anyport/.anyport/ca` in the volume holds what clients must trust.
FROM rust:1.95-slim-trixie AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ libclang-dev make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /anyport
COPY . .
# The caches keep crates, RocksDB and our own code from one build of the image to the next.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/root/.cache \
    --mount=type=cache,target=/anyport/target \
    make install DESTDIR=/image

# The same Debian: the programs need its C library, and libstdc++ for RocksDB, which apt brings along.
FROM debian:trixie-slim
RUN useradd --uid 7400 --home-dir /var/lib/anyport --no-create-home --shell /usr/sbin/nologin anyport \
    && install -d -m 700 -o anyport -g anyport /var/lib/anyport
COPY --from=build /image/usr/local /usr/local
USER anyport
ENV ANYPORT_LISTEN=0.0.0.0:7400 ANYPORT_DATA=/var/lib/anyport/data
VOLUME /var/lib/anyport
EXPOSE 7400/udp
# Ready is: every group has a leader, and clients are served. bash can ask by itself, so that no HTTP client need be installed.
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s CMD ["bash", "-c", "at=${ANYPORT_ADMIN:-127.0.0.1:7480}; exec 3<>/dev/tcp/${at%:*}/${at##*:} && printf 'GET /readyz HTTP/1.0\\r\\n\\r\\n' >&3 && grep -q '^HTTP/1.[01] 200' <&3"]
ENTRYPOINT ["anyportd"]
CMD ["--tls-cert", "/etc/anyport/cert.pem", "--tls-key", "/etc/anyport/key.pem"]
