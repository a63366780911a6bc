"""The classes of Kafka's wire protocol that the agent speaks, from kafka-python; the only import of it.

kafka-python reads its schemas while it is imported, with a call that Python 3.11 deprecates (and 3.13 has again): the
warning is about nothing we do, and is kept from programs that turn warnings into errors.
"""

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from kafka.errors import KafkaError
    from kafka.protocol.admin import (
        DescribeClusterRequest,
        DescribeClusterResponse,
        DescribeLogDirsRequest,
        DescribeLogDirsResponse,
        DescribeQuorumRequest,
        DescribeQuorumResponse,
    )
    from kafka.protocol.api_message import ApiMessage
    from kafka.protocol.consumer import ListOffsetsRequest, ListOffsetsResponse
    from kafka.protocol.metadata import ApiVersionsRequest, ApiVersionsResponse, MetadataRequest, MetadataResponse
    from kafka.protocol.parser import KafkaProtocol

__all__ = [
    "ApiMessage",
    "ApiVersionsRequest",
    "ApiVersionsResponse",
    "DescribeClusterRequest",
    "DescribeClusterResponse",
    "DescribeLogDirsRequest",
    "DescribeLogDirsResponse",
    "DescribeQuorumRequest",
    "DescribeQuorumResponse",
    "KafkaError",
    "KafkaProtocol",
    "ListOffsetsRequest",
    "ListOffsetsResponse",
    "MetadataRequest",
    "MetadataResponse",
]
