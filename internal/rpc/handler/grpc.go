package handler

import (
	"context"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"

	"github.com/penstock-io/penstock/internal/rpc/codec"
	"github.com/penstock-io/penstock/internal/task"

	pb "github.com/penstock-io/penstock/api/penstock/v1"
)

const (
	recvBytesMax   = 32 << 20 // one message: a batch of BatchBytesMax and its names
	callsMax       = 10_000   // calls and streams at once on one connection
	windowBytes    = 4 << 20  // of flow control, each stream; a fixed one needs no probing
	keepaliveEvery = 20 * time.Second
	keepaliveMax   = 10 * time.Second
	pingEveryMin   = 5 * time.Second
)

func (s *Server) newGRPC() *grpc.Server {
	g := grpc.NewServer(
		grpc.Creds(sorted{insecure.NewCredentials(), s.bodies}),
		grpc.ForceServerCodecV2(codec.Codec{}),
		grpc.MaxRecvMsgSize(recvBytesMax),
		grpc.MaxConcurrentStreams(callsMax),
		grpc.InitialWindowSize(windowBytes), grpc.InitialConnWindowSize(2*windowBytes),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: keepaliveEvery, Timeout: keepaliveMax}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: pingEveryMin, PermitWithoutStream: true}),
		grpc.ConnectionTimeout(headerMax),
		grpc.StreamInterceptor(s.interceptStream),
	)
	for _, d := range []grpc.ServiceDesc{pb.TaskService_ServiceDesc, pb.WorkerService_ServiceDesc, pb.QueueService_ServiceDesc, pb.NodeService_ServiceDesc} {
		g.RegisterService(s.unaryService(d), nil)
	}
	pb.RegisterSessionServiceServer(g, sessionService{s})
	grpc_health_v1.RegisterHealthServer(g, healthService{srv: s})
	reflection.Register(g)
	return g
}

type sessionService struct{ srv *Server }

// Session serves one stream.
func (s sessionService) Session(rpc grpc.BidiStreamingServer[pb.ClientFrame, pb.ServerFrame]) error {
	return s.srv.session(rpc)
}

// openPaths need no token: a prober has none.
const healthPath = "/grpc.health.v1.Health/"

func (s *Server) admits(ctx context.Context, path string) bool {
	if s.gate.open || strings.HasPrefix(path, healthPath) {
		return true
	}
	return s.gate.admits(authorization(ctx))
}

// authorization is the call's one header of that name.
func authorization(ctx context.Context) string {
	md, _ := metadata.FromIncomingContext(ctx)
	if auth := md.Get("authorization"); len(auth) == 1 {
		return auth[0]
	}
	return ""
}

func (s *Server) interceptStream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, h grpc.StreamHandler) error {
	if !s.admits(ss.Context(), info.FullMethod) {
		return status.Error(codes.Unauthenticated, unauthorized(authorization(ss.Context())))
	}
	return h(srv, ss)
}

// healthService is gRPC's own health protocol over the same checks as /readyz.
type healthService struct {
	grpc_health_v1.UnimplementedHealthServer
	srv *Server
}

// Check answers for the whole server, and for each of its services alike.
func (h healthService) Check(ctx context.Context, r *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	if r.Service != "" && !strings.HasPrefix(r.Service, "penstock.v1.") {
		return nil, status.Errorf(codes.NotFound, "there is no service %q here", r.Service)
	}
	return &grpc_health_v1.HealthCheckResponse{Status: h.status(ctx)}, nil
}

func (h healthService) status(ctx context.Context) grpc_health_v1.HealthCheckResponse_ServingStatus {
	for _, c := range h.srv.checks(ctx) {
		if !c.OK {
			return grpc_health_v1.HealthCheckResponse_NOT_SERVING
		}
	}
	return grpc_health_v1.HealthCheckResponse_SERVING
}

// Watch sends the status whenever it has changed.
func (h healthService) Watch(r *grpc_health_v1.HealthCheckRequest, ss grpc.ServerStreamingServer[grpc_health_v1.HealthCheckResponse]) error {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	last := grpc_health_v1.HealthCheckResponse_UNKNOWN
	for {
		if now := h.status(ss.Context()); now != last {
			last = now
			if err := ss.Send(&grpc_health_v1.HealthCheckResponse{Status: now}); err != nil {
				return err
			}
		}
		select {
		case <-t.C:
		case <-ss.Context().Done():
			return nil
		case <-h.srv.quit:
			return ss.Send(&grpc_health_v1.HealthCheckResponse{Status: grpc_health_v1.HealthCheckResponse_NOT_SERVING})
		}
	}
}

// checks tells what stands between this server and its work.
func (s *Server) checks(ctx context.Context) []Check {
	if s.draining() {
		return []Check{{Name: "serving", Detail: "the server is shutting down"}}
	}
	if s.o.Ready != nil {
		return s.o.Ready(ctx)
	}
	n, err := s.o.Inspector.Node(ctx)
	if err != nil {
		return []Check{{Name: "node", Detail: task.AsError(err).Text}}
	}
	return []Check{{Name: "node", OK: n.Ready, Detail: n.NotReady}}
}
