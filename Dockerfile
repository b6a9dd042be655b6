FROM golang:1.26-bookworm AS build
# The exact Go release of go.mod, whichever one the image has.
ENV GOTOOLCHAIN=auto CGO_ENABLED=0
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN go build -trimpath -ldflags="-s -w" -o /out/comecomepay ./cmd/comecomepay && mkdir /out/data

# No shell, no package manager: certificates, time zones and one binary.
FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /out/comecomepay /usr/bin/comecomepay
COPY --from=build --chown=65532:65532 /out/data /data
ENV CCP_HTTP_ADDR=0.0.0.0:8010 CCP_OPS_ADDR=0.0.0.0:8012 CCP_DATA_DIR=/data
EXPOSE 8010 8012
USER 65532:65532
ENTRYPOINT ["/usr/bin/comecomepay"]
CMD ["serve"]
