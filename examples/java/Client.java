import blindsight.keyholder.v1.*;
import com.google.protobuf.ByteString;
import io.grpc.Channel;
import io.grpc.ClientInterceptors;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.MetadataUtils;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Iterator;
import java.util.List;

/** Stores photos in an encrypted collection, finds what is most like the first, and fetches the best match again. */
public final class Client {
  public static void main(String[] arguments) throws IOException {
    ManagedChannel channel = Grpc.newChannelBuilder(arguments[0], InsecureChannelCredentials.create()).build();
    List<String> photos = Arrays.asList(arguments).subList(2, arguments.length);
    try {
      Metadata shown = new Metadata(); // with every call
      shown.put(Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER),
          "Bearer " + Files.readString(Path.of(System.getenv("BLINDSIGHT_TOKEN_FILE"))).trim());
      Channel known = ClientInterceptors.intercept(channel, MetadataUtils.newAttachHeadersInterceptor(shown));
      run(KeyholderServiceGrpc.newBlockingStub(known), arguments[1], photos);
    } finally {
      channel.shutdown();
    }
  }

  private static void run(KeyholderServiceGrpc.KeyholderServiceBlockingStub keyholder, String collection, List<String> photos)
      throws IOException {
    try {
      keyholder.createCollection(CreateCollectionRequest.newBuilder()
          .setName(collection).setScheme(Scheme.SCHEME_CKKS).setEmbedder("pixels").build());
    } catch (StatusRuntimeException error) {
      if (error.getStatus().getCode() != Status.Code.ALREADY_EXISTS) throw error;
    }
    for (String photo : photos) {
      IngestImageResponse stored = keyholder.ingestImage(IngestImageRequest.newBuilder()
          .setSettings(IngestHeader.newBuilder().setCollection(collection))
          .setName(Path.of(photo).getFileName().toString()).setImage(bytes(photo)).build());
      System.out.println(photo + ": " + stored.getOutcome() + " as " + stored.getId());
    }
    SearchImageResponse found = keyholder.searchImage(SearchImageRequest.newBuilder()
        .setSettings(SearchHeader.newBuilder().setCollection(collection).setK(3))
        .setImage(bytes(photos.get(0))).build());
    for (Hit hit : found.getHitsList()) System.out.printf("%.4f %s%n", hit.getScore(), hit.getName());

    Iterator<GetOriginalResponse> parts = keyholder.getOriginal(GetOriginalRequest.newBuilder()
        .setCollection(collection).setId(found.getHits(0).getId()).build());
    OriginalHeader header = parts.next().getHeader();
    long size = 0;
    while (parts.hasNext()) size += parts.next().getChunk().size();
    System.out.println("original of " + header.getName() + ": " + size + " bytes, " + header.getMediaType());
  }

  private static ByteString bytes(String photo) throws IOException {
    return ByteString.copyFrom(Files.readAllBytes(Path.of(photo)));
  }
}
